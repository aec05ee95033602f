// Verifies webhooks with the libraries that receivers use. Reads one JSON object a line,
// {"library": "svix" | "standardwebhooks", "secret", "headers", "body_base64"}, and answers each
// with one line: "ok", "fail" (the library refused it), or "error: ..." (anything else).
import { createInterface } from "node:readline";
import * as standardwebhooks from "standardwebhooks";
import * as svix from "svix";

const libraries = { standardwebhooks, svix };

function answer(line) {
  try {
    const { library, secret, headers, body_base64 } = JSON.parse(line);
    const { Webhook, WebhookVerificationError } = libraries[library];
    try {
      new Webhook(secret).verify(Buffer.from(body_base64, "base64"), headers);
      return "ok";
    } catch (error) {
      if (error instanceof WebhookVerificationError) return "fail";
      throw error;
    }
  } catch (error) {
    return `error: ${String(error).replaceAll("\n", " ")}`;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(answer(line));
}
