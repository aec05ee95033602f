// A tour of Hookline by Svix's SDK for Go. See tests/acceptance/test_sdk_tours.py.
//
// Prints the id of each message once it is published, and reads what the endpoint got of it from
// stdin: {"headers": {...}, "body": "..."}. Prints "done" at its end.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	svix "github.com/svix/svix-webhooks/go"
	"github.com/svix/svix-webhooks/go/models"
)

const eventType = "tour.go"

var (
	ctx     = context.Background()
	payload = map[string]interface{}{"text": "Zoë · 東京", "number": 1.5}
	lines   = bufio.NewReader(os.Stdin)
	client  *svix.Svix
)

type delivery struct {
	Headers map[string]string
	Body    string
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		var told *svix.Error
		if errors.As(err, &told) {
			log.Panicf("%d %s", told.Status(), told.Body())
		}
		log.Panic(err)
	}
}

func with(key string) *svix.Svix {
	server := must(url.Parse(os.Getenv("URL")))
	return must(svix.New(key, &svix.SvixOptions{ServerUrl: server}))
}

func ptr(text string) *string {
	return &text
}

func claim(holds bool, what string) {
	if !holds {
		log.Panic(what)
	}
}

func until(look func() bool) {
	deadline := time.Now().Add(15 * time.Second)
	for !look() {
		claim(time.Now().Before(deadline), "this takes too long")
		time.Sleep(50 * time.Millisecond)
	}
}

func publish(app string) *models.MessageOut {
	return must(client.Message.Create(ctx, app, models.MessageIn{EventType: eventType, Payload: payload}, nil))
}

func delivered(message string) (http.Header, []byte) {
	fmt.Println(message)
	var got delivery
	check(json.Unmarshal(must(lines.ReadBytes('\n')), &got))
	headers := http.Header{}
	for name, value := range got.Headers {
		headers.Set(name, value)
	}
	return headers, []byte(got.Body)
}

func verify(secret string, body []byte, headers http.Header) error {
	return must(svix.NewWebhook(secret)).Verify(body, headers)
}

func attempts(app, message string, number int) []models.MessageAttemptOut {
	var found []models.MessageAttemptOut
	until(func() bool {
		found = must(client.MessageAttempt.ListByMsg(ctx, app, message, nil)).Data
		return len(found) >= number
	})
	return found
}

func anApp() string {
	uid := fmt.Sprintf("tour-%d", os.Getpid())
	given := models.ApplicationIn{Name: "Tour", Uid: &uid}
	app := must(client.Application.Create(ctx, given, nil))
	claim(must(client.Application.Get(ctx, uid)).Id == app.Id, "an app is found by its uid")
	claim(must(client.Application.GetOrCreate(ctx, given, nil)).Id == app.Id, "an app is made once")
	change := models.ApplicationPatch{Metadata: &map[string]string{"plan": "free"}}
	claim(must(client.Application.Patch(ctx, uid, change)).Metadata["plan"] == "free", "a patch")
	claim(len(must(client.Application.List(ctx, nil)).Data) > 0, "an app is listed")
	return app.Id
}

func anEndpoint(app string) string {
	must(client.EventType.Update(ctx, eventType, models.EventTypeUpdate{Description: "Of the tour"}))
	claim(must(client.EventType.Get(ctx, eventType)).Description == "Of the tour", "an event type")
	given := models.EndpointIn{
		Url:         os.Getenv("TARGET"),
		Uid:         ptr("e"),
		FilterTypes: []string{eventType},
	}
	endpoint := must(client.Endpoint.Create(ctx, app, given, nil))
	change := models.EndpointPatch{Description: ptr("Tour")}
	claim(must(client.Endpoint.Patch(ctx, app, "e", change)).Description == "Tour", "a patch")
	headers := models.EndpointHeadersIn{Headers: map[string]string{"x-tour": "1"}}
	check(client.Endpoint.UpdateHeaders(ctx, app, "e", headers))
	claim(must(client.Endpoint.GetHeaders(ctx, app, "e")).Headers["x-tour"] == "1", "headers")
	claim(len(must(client.Endpoint.List(ctx, app, nil)).Data) == 1, "one endpoint is listed")
	return endpoint.Id
}

func aMessage(app, endpoint string) string {
	message := publish(app)
	secret := must(client.Endpoint.GetSecret(ctx, app, endpoint)).Key
	headers, body := delivered(message.Id)
	check(verify(secret, body, headers))
	claim(verify(secret, append(body, ' '), headers) != nil, "a changed body is refused")
	claim(headers.Get("x-tour") == "1", "the endpoint's header is sent")
	found := must(client.Message.Get(ctx, app, message.Id, nil))
	claim(reflect.DeepEqual(found.Payload, payload), "the payload is shown")
	claim(len(must(client.Message.List(ctx, app, nil)).Data) == 1, "one message is listed")
	return message.Id
}

func again(app, endpoint, message string) {
	attempt := attempts(app, message, 1)[0]
	found := must(client.MessageAttempt.Get(ctx, app, message, attempt.Id, nil))
	claim(found.ResponseStatusCode == 200, "an attempt is shown")
	byEndpoint := must(client.MessageAttempt.ListByEndpoint(ctx, app, endpoint, nil)).Data
	claim(byEndpoint[0].Id == attempt.Id, "an endpoint's attempts are listed")
	places := must(client.MessageAttempt.ListAttemptedDestinations(ctx, app, message, nil)).Data
	claim(places[0].Id == endpoint, "a message's endpoints are listed")
	tried := must(client.MessageAttempt.ListAttemptedMessages(ctx, app, endpoint, nil)).Data
	claim(tried[0].Id == message, "an endpoint's messages are listed")
	must(client.MessageAttempt.Resend(ctx, app, message, endpoint, nil))
	headers, body := delivered(message)
	check(verify(must(client.Endpoint.GetSecret(ctx, app, "e")).Key, body, headers))
	attempts(app, message, 2)
}

func anotherSecret(app, endpoint string) {
	old := must(client.Endpoint.GetSecret(ctx, app, endpoint)).Key
	check(client.Endpoint.RotateSecret(ctx, app, endpoint, models.EndpointSecretRotateIn{}, nil))
	secret := must(client.Endpoint.GetSecret(ctx, app, endpoint)).Key
	claim(secret != old, "a secret is rotated")
	message := publish(app)
	headers, body := delivered(message.Id)
	check(verify(old, body, headers))
	check(verify(secret, body, headers))
	attempts(app, message.Id, 1)
}

func aRecovery(app, endpoint string) {
	since := models.RecoverIn{Since: time.Now().Add(-time.Minute)}
	begun := must(client.Endpoint.Recover(ctx, app, endpoint, since, nil))
	until(func() bool {
		found := must(client.BackgroundTask.Get(ctx, begun.Id))
		return found.Status == models.BACKGROUNDTASKSTATUS_FINISHED
	})
}

func aPortal(app, endpoint string) {
	access := must(client.Authentication.AppPortalAccess(ctx, app, models.AppPortalAccessIn{}, nil))
	claim(strings.HasSuffix(access.Url, access.Token), "a link to the portal has its key")
	portal := with(access.Token)
	listed := must(portal.Endpoint.List(ctx, app, nil)).Data
	claim(listed[0].Id == endpoint, "a portal lists the endpoints")
	check(portal.Authentication.Logout(ctx, nil))
	_, err := portal.Endpoint.List(ctx, app, nil)
	var told *svix.Error
	claim(errors.As(err, &told) && told.Status() == 401, "a key that logged out is none")
}

func errorsAreTold(app string) {
	_, missing := client.Application.Get(ctx, "app_none")
	_, invalid := client.Endpoint.Create(ctx, app, models.EndpointIn{Url: "ftp://x"}, nil)
	_, unserved := client.Ingest.Source.List(ctx, nil)
	for status, err := range map[int]error{404: missing, 422: invalid, 501: unserved} {
		var told *svix.Error
		claim(errors.As(err, &told) && told.Status() == status, fmt.Sprint(status, err))
	}
}

func main() {
	client = with(os.Getenv("KEY"))
	app := anApp()
	endpoint := anEndpoint(app)
	message := aMessage(app, endpoint)
	again(app, endpoint, message)
	anotherSecret(app, endpoint)
	until(func() bool { return must(client.Endpoint.GetStats(ctx, app, endpoint, nil)).Success == 3 })
	aRecovery(app, endpoint)
	aPortal(app, endpoint)
	errorsAreTold(app)
	check(client.Endpoint.Delete(ctx, app, endpoint))
	check(client.Application.Delete(ctx, app))
	fmt.Println("done")
}
