import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.svix.Svix;
import com.svix.SvixOptions;
import com.svix.Webhook;
import com.svix.exceptions.ApiException;
import com.svix.exceptions.WebhookVerificationException;
import com.svix.models.ApplicationIn;
import com.svix.models.BackgroundTaskStatus;
import com.svix.models.EndpointIn;
import com.svix.models.EndpointPatch;
import com.svix.models.EndpointSecretRotateIn;
import com.svix.models.EventTypeUpdate;
import com.svix.models.MessageIn;
import com.svix.models.RecoverIn;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpHeaders;
import java.nio.charset.StandardCharsets;
import java.time.OffsetDateTime;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;

/**
 * A tour of Hookline by Svix's SDK for Java. See tests/acceptance/more_sdk_tours.py.
 *
 * Prints the id of each message once it is published, and reads what the endpoint got of it from
 * stdin: {"headers": {...}, "body": "..."}. Prints "done" at its end.
 */
public final class Tour {
    private static final String TYPE = "tour.java";
    private static final String PAYLOAD = "{\"text\": \"Zoë · 東京\", \"number\": 1.5}";
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final BufferedReader LINES =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    private final Svix svix;
    private String app;
    private String endpoint;

    private Tour() {
        SvixOptions options = new SvixOptions();
        options.setServerUrl(System.getenv("URL"));
        svix = new Svix(System.getenv("KEY"), options);
    }

    private static void claim(boolean holds, String what) {
        if (!holds) throw new IllegalStateException(what);
    }

    private static void until(Callable<Boolean> look) throws Exception {
        long deadline = System.nanoTime() + 15_000_000_000L;
        while (!look.call()) {
            claim(System.nanoTime() < deadline, "this takes too long");
            Thread.sleep(50);
        }
    }

    private record Delivery(HttpHeaders headers, String body) {}

    private static Delivery delivered(String message) throws Exception {
        System.out.println(message);
        JsonNode told = JSON.readTree(LINES.readLine());
        Map<String, List<String>> headers = new HashMap<>();
        for (Map.Entry<String, JsonNode> one : told.get("headers").properties()) {
            headers.put(one.getKey(), List.of(one.getValue().asText()));
        }
        return new Delivery(HttpHeaders.of(headers, (a, b) -> true), told.get("body").asText());
    }

    private static boolean verifies(String secret, Delivery got, String body) throws Exception {
        try {
            new Webhook(secret).verify(body, got.headers());
            return true;
        } catch (WebhookVerificationException refused) {
            return false;
        }
    }

    private static int statusOf(Callable<?> ask) throws Exception {
        try {
            ask.call();
            return 200;
        } catch (ApiException told) {
            return told.getCode();
        }
    }

    private void begin() throws Exception {
        String uid = "tour-" + ProcessHandle.current().pid();
        ApplicationIn given = new ApplicationIn().name("Tour").uid(uid);
        app = svix.getApplication().create(given).getId();
        claim(svix.getApplication().get(uid).getId().equals(app), "an app is found by its uid");
        claim(svix.getApplication().getOrCreate(given).getId().equals(app), "it is made once");
        svix.getEventType().update(TYPE, new EventTypeUpdate().description("Of the tour"));
        URI target = URI.create(System.getenv("TARGET"));
        EndpointIn place = new EndpointIn().url(target).filterTypes(Set.of(TYPE));
        endpoint = svix.getEndpoint().create(app, place).getId();
        EndpointPatch change = new EndpointPatch().description("Tour");
        claim(svix.getEndpoint().patch(app, endpoint, change).getDescription().equals("Tour"), "patch");
        claim(svix.getEndpoint().list(app).getData().size() == 1, "one endpoint is listed");
    }

    private String publish() throws Exception {
        return svix.getMessage().create(app, new MessageIn().eventType(TYPE).payload(PAYLOAD)).getId();
    }

    private String secret() throws Exception {
        return svix.getEndpoint().getSecret(app, endpoint).getKey();
    }

    private void attempted(String message, int number) throws Exception {
        until(() -> svix.getMessageAttempt().listByMsg(app, message).getData().size() >= number);
    }

    private void aMessage() throws Exception {
        String message = publish();
        Delivery got = delivered(message);
        claim(verifies(secret(), got, got.body()), "a delivery verifies");
        claim(!verifies(secret(), got, got.body() + " "), "a changed body is refused");
        claim(JSON.readTree(got.body()).equals(JSON.readTree(PAYLOAD)), "the payload arrives");
        attempted(message, 1);
        var places = svix.getMessageAttempt().listAttemptedDestinations(app, message).getData();
        claim(places.get(0).getId().equals(endpoint), "a message's endpoints are listed");
        var tried = svix.getMessageAttempt().listAttemptedMessages(app, endpoint).getData();
        claim(tried.get(0).getId().equals(message), "an endpoint's messages are listed");
        // No resend: this version makes a POST without a body, which its own client refuses.
    }

    private void anotherSecret() throws Exception {
        String old = secret();
        svix.getEndpoint().rotateSecret(app, endpoint, new EndpointSecretRotateIn());
        claim(!secret().equals(old), "a secret is rotated");
        String message = publish();
        Delivery got = delivered(message);
        claim(verifies(old, got, got.body()), "the former secret verifies");
        claim(verifies(secret(), got, got.body()), "the new secret verifies");
        attempted(message, 1);
    }

    private void numbersAndARecovery() throws Exception {
        until(() -> svix.getEndpoint().getStats(app, endpoint).getSuccess() == 2);
        RecoverIn since = new RecoverIn().since(OffsetDateTime.now().minusMinutes(1));
        String task = svix.getEndpoint().recover(app, endpoint, since).getId();
        until(() -> svix.getBackgroundTask().get(task).getStatus() == BackgroundTaskStatus.FINISHED);
    }

    private void end() throws Exception {
        EndpointIn wrong = new EndpointIn().url(URI.create("ftp://x"));
        claim(statusOf(() -> svix.getApplication().get("app_none")) == 404, "404");
        claim(statusOf(() -> svix.getEndpoint().create(app, wrong)) == 422, "422");
        claim(statusOf(() -> svix.getIngest().getSource().list()) == 501, "501");
        svix.getEndpoint().delete(app, endpoint);
        svix.getApplication().delete(app);
        System.out.println("done");
    }

    public static void main(String[] arguments) throws Exception {
        Tour tour = new Tour();
        tour.begin();
        tour.aMessage();
        tour.anotherSecret();
        tour.numbersAndARecovery();
        tour.end();
        System.exit(0); // the SDK's threads would linger
    }
}
