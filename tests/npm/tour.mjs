// A tour of Hookline by Svix's SDK for JavaScript. See tests/acceptance/test_sdk_tours.py.
// Prints the id of each message once it is published, and reads what the endpoint got of it from
// stdin: {"headers": {...}, "body": "..."}. Prints "done" at its end.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { Svix, Webhook, WebhookVerificationError } from "svix";

const TYPE = "tour.javascript";
const PAYLOAD = { text: "Zoë · 東京", number: 1.5 };
const START = new Date(Date.now() - 60_000);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const client = (key) => new Svix(key, { serverUrl: process.env.URL });
const svix = client(process.env.KEY);

async function delivered(message) {
  console.log(message.id);
  return JSON.parse((await lines.next()).value);
}

async function until(look) {
  const deadline = Date.now() + 15_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert(Date.now() < deadline, "this takes too long");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function publish(app) {
  return svix.message.create(app.id, { eventType: TYPE, payload: PAYLOAD });
}

function attempts(app, message, number) {
  return until(async () => {
    const { data } = await svix.messageAttempt.listByMsg(app.id, message.id);
    return data.length >= number ? data : null;
  });
}

async function anApp() {
  const uid = `tour-${process.pid}`;
  const app = await svix.application.create({ name: "Tour", uid });
  assert.equal((await svix.application.get(uid)).id, app.id);
  assert.equal((await svix.application.getOrCreate({ name: "x", uid })).id, app.id);
  const patched = await svix.application.patch(uid, { metadata: { plan: "free" } });
  assert.deepEqual(patched.metadata, { plan: "free" });
  const listed = await svix.application.list({ limit: 250 });
  assert(listed.data.some((one) => one.id === app.id));
  return app;
}

async function anEventType() {
  await svix.eventType.update(TYPE, { description: "Of the tour" });
  assert.equal((await svix.eventType.get(TYPE)).description, "Of the tour");
  assert((await svix.eventType.list()).data.some((one) => one.name === TYPE));
}

async function anEndpoint(app) {
  const given = { url: process.env.TARGET, uid: "e", filterTypes: [TYPE] };
  const endpoint = await svix.endpoint.create(app.id, given);
  const patched = await svix.endpoint.patch(app.id, "e", { description: "Tour" });
  assert.deepEqual([patched.id, patched.description], [endpoint.id, "Tour"]);
  assert.deepEqual(patched.filterTypes, [TYPE]);
  const headers = { "x-tour": "1", authorization: "Bearer t" };
  await svix.endpoint.updateHeaders(app.id, "e", { headers });
  const shown = await svix.endpoint.getHeaders(app.id, "e");
  assert.deepEqual([shown.headers, shown.sensitive], [{ "x-tour": "1" }, ["authorization"]]);
  assert.deepEqual((await svix.endpoint.list(app.id)).data.map((one) => one.id), [endpoint.id]);
  return endpoint;
}

async function aMessage(app, endpoint) {
  const message = await publish(app);
  const { key } = await svix.endpoint.getSecret(app.id, endpoint.id);
  const { headers, body } = await delivered(message);
  assert.deepEqual(new Webhook(key).verify(body, headers), PAYLOAD);
  assert.throws(() => new Webhook(key).verify(`${body} `, headers), WebhookVerificationError);
  assert.equal(headers["x-tour"], "1");
  const found = await svix.message.get(app.id, message.id, { withContent: true });
  assert.deepEqual(found.payload, PAYLOAD);
  assert((await svix.message.list(app.id)).data.some((one) => one.id === message.id));
  return message;
}

async function again(app, endpoint, message) {
  const [attempt] = await attempts(app, message, 1);
  const found = await svix.messageAttempt.get(app.id, message.id, attempt.id);
  assert.equal(found.responseStatusCode, 200);
  const byEndpoint = await svix.messageAttempt.listByEndpoint(app.id, endpoint.id);
  assert(byEndpoint.data.some((one) => one.id === attempt.id));
  const places = await svix.messageAttempt.listAttemptedDestinations(app.id, message.id);
  assert.deepEqual(places.data.map((one) => [one.id, one.status]), [[endpoint.id, 0]]);
  const tried = await svix.messageAttempt.listAttemptedMessages(app.id, endpoint.id);
  assert(tried.data.some((one) => one.id === message.id));
  await svix.messageAttempt.resend(app.id, message.id, endpoint.id);
  const { headers, body } = await delivered(message);
  const { key } = await svix.endpoint.getSecret(app.id, "e");
  new Webhook(key).verify(body, headers);
  await attempts(app, message, 2);
}

async function anotherSecret(app, endpoint) {
  const old = (await svix.endpoint.getSecret(app.id, endpoint.id)).key;
  await svix.endpoint.rotateSecret(app.id, endpoint.id, {});
  const { key } = await svix.endpoint.getSecret(app.id, endpoint.id);
  assert.notEqual(key, old);
  const message = await publish(app);
  const { headers, body } = await delivered(message);
  for (const secret of [old, key]) new Webhook(secret).verify(body, headers);
  await attempts(app, message, 1);
}

async function numbersAndARecovery(app, endpoint) {
  await until(async () => (await svix.endpoint.getStats(app.id, endpoint.id)).success === 3);
  const begun = await svix.endpoint.recover(app.id, endpoint.id, { since: START });
  await until(async () => (await svix.backgroundTask.get(begun.id)).status === "finished");
  assert((await svix.backgroundTask.list()).data.some((one) => one.id === begun.id));
}

async function aPortal(app, endpoint) {
  const { url, token } = await svix.authentication.appPortalAccess(app.id, {});
  assert(url.endsWith(token));
  const portal = client(token);
  assert.deepEqual((await portal.endpoint.list(app.id)).data.map((one) => one.id), [endpoint.id]);
  await portal.authentication.logout();
  await assert.rejects(portal.endpoint.list(app.id), (error) => error.code === 401);
}

async function errors(app) {
  const refused = {
    404: () => svix.application.get("app_none"),
    409: () => svix.application.create({ name: "x", uid: app.uid }),
    422: () => svix.endpoint.create(app.id, { url: "ftp://x" }),
    501: () => svix.ingest.source.list(),
  };
  for (const [status, ask] of Object.entries(refused)) {
    await assert.rejects(ask, (error) => error.code === Number(status));
  }
}

const app = await anApp();
await anEventType();
const endpoint = await anEndpoint(app);
const message = await aMessage(app, endpoint);
await again(app, endpoint, message);
await anotherSecret(app, endpoint);
await numbersAndARecovery(app, endpoint);
await aPortal(app, endpoint);
await errors(app);
await svix.endpoint.delete(app.id, endpoint.id);
await svix.application.delete(app.id);
console.log("done");
process.exit(0);
