// What the resources of Svix's Terraform provider do, by the SDK for Go that it stands on.
// See tests/integration/api/test_terraform.py. Prints "done" at its end.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/url"
	"os"
	"reflect"

	svix "github.com/svix/svix-webhooks/go"
	"github.com/svix/svix-webhooks/go/internalapi"
	"github.com/svix/svix-webhooks/go/models"
	"github.com/svix/svix-webhooks/go/utils"
)

const spec = `
openapi: 3.1.0
webhooks:
  invoice.paid:
    post:
      summary: An invoice was paid
      requestBody: {content: {application/json: {schema: {type: object}}}}
`

var ctx = context.Background()

func check(err error) {
	if err != nil {
		var told *svix.Error
		if errors.As(err, &told) {
			log.Panicf("%d %s", told.Status(), told.Body())
		}
		log.Panic(err)
	}
}

// must gives an answer; a 204 is none.
func must[T any](value *T, err error) *T {
	check(err)
	if value == nil {
		log.Panicf("no %T", value)
	}
	return value
}

// same compares as Terraform does: nothing is not the same as something empty.
func same(found any, sent any) {
	if !reflect.DeepEqual(found, sent) {
		log.Panicf("%#v is not %#v", found, sent)
	}
}

func ptr[T any](value T) *T {
	return &value
}

func public(key string) *svix.Svix {
	server, err := url.Parse(os.Getenv("URL"))
	check(err)
	client, err := svix.New(key, &svix.SvixOptions{ServerUrl: server})
	check(err)
	return client
}

func internal(key string) *internalapi.InternalSvix {
	server, err := url.Parse(os.Getenv("URL"))
	check(err)
	client, err := internalapi.New(key, server, false, ptr("terraform"))
	check(err)
	return client
}

func main() {
	key := os.Getenv("KEY")
	environments := internal(key).Management.Environment
	environment := anEnvironment(environments)
	inIt := fmt.Sprintf("%s|%s", key, environment)
	aToken(internal(inIt), environment)
	settings(internal(inIt))
	anEventType(public(inIt))
	anImport(public(inIt))
	anOperationalEndpoint(public(inIt))
	check(environments.Delete(ctx, environment))
	_, err := environments.Get(ctx, environment)
	if err == nil {
		log.Panic("a deleted environment is found")
	}
	fmt.Println("done")
}

func anEnvironment(environments *internalapi.ManagementEnvironment) string {
	made := must(environments.Create(ctx, models.EnvironmentModelIn{
		Name: "Staging", Type: models.ENVIRONMENTTYPE_DEVELOPMENT,
	}, nil))
	same(made.Type, models.ENVIRONMENTTYPE_DEVELOPMENT)
	same(made.Region, models.ENVIRONMENTREGION_SELF_HOSTED)
	must(environments.Update(ctx, made.Id, models.EnvironmentModelUpdate{Name: "Stage"}))
	found := must(environments.Get(ctx, made.Id))
	same(found.Name, "Stage")
	same(found.CreatedAt, made.CreatedAt)
	return made.Id
}

func aToken(client *internalapi.InternalSvix, environment string) {
	tokens := client.Management.Authentication
	made := must(tokens.CreateApiToken(ctx, environment, models.ApiTokenIn{Name: "CI"}, nil))
	same(made.Name, ptr("CI"))
	same(made.Scopes, []string(nil))
	same(made.ExpiresAt == nil, true)
	patched := must(tokens.PatchApiToken(ctx, environment, made.Id, models.ApiTokenPatch{
		Name: utils.NewNullable("Deploys"), Scopes: utils.NewNullable([]string(nil)),
	}))
	same(patched.Name, ptr("Deploys"))
	same(patched.Scopes, []string(nil))
	must(public(made.Token).EventType.List(ctx, nil))
	now := models.ApiTokenExpireIn{Expiry: ptr(int32(0))}
	check(tokens.ExpireApiToken(ctx, environment, made.Id, now, nil))
	_, err := public(made.Token).EventType.List(ctx, nil)
	same(err != nil, true)
}

func settings(client *internalapi.InternalSvix) {
	of := client.Management.EnvironmentSettings
	present := must(of.Get(ctx))
	planned := models.SettingsInternalIn{
		DisableEndpointOnFailure: ptr(false),
		DisplayName:              ptr("Acme"),
		EnableChannels:           ptr(true),
		EnforceHttps:             ptr(true),
		CustomBaseFontSize:       ptr(int64(16)),
		ShowUseSvixPlay:          present.ShowUseSvixPlay,
		ColorPaletteLight:        &models.CustomColorPalette{Primary: ptr("#28bb93")},
		CustomThemeOverride: &models.CustomThemeOverride{
			BorderRadius: &models.BorderRadiusConfig{Button: ptr(models.BORDERRADIUSENUM_MD)},
		},
	}
	updated := must(of.Update(ctx, planned))
	same(updated.DisplayName, planned.DisplayName)
	found := must(of.Get(ctx))
	same(found.DisableEndpointOnFailure, planned.DisableEndpointOnFailure)
	same(found.DisplayName, planned.DisplayName)
	same(found.EnableChannels, planned.EnableChannels)
	same(found.EnforceHttps, planned.EnforceHttps)
	same(found.CustomBaseFontSize, planned.CustomBaseFontSize)
	same(found.ShowUseSvixPlay, planned.ShowUseSvixPlay)
	same(found.ColorPaletteLight, planned.ColorPaletteLight)
	same(found.ColorPaletteDark == nil, true)
	same(found.CustomThemeOverride, planned.CustomThemeOverride)
}

func anEventType(client *svix.Svix) {
	schemas := map[string]any{"1": map[string]any{"type": "object"}}
	given := models.EventTypeIn{
		Name: "user.created", Description: "A user", Archived: ptr(false), Deprecated: ptr(false),
		GroupName: ptr("user"), FeatureFlags: []string{"beta"}, Schemas: &schemas,
	}
	shown := func(found *models.EventTypeOut) {
		same(found.Description, given.Description)
		same(found.Archived, given.Archived)
		same(found.GroupName, given.GroupName)
		same(found.FeatureFlags, given.FeatureFlags)
		same(found.Schemas, given.Schemas)
	}
	shown(must(client.EventType.Create(ctx, given, nil)))
	shown(must(client.EventType.Get(ctx, given.Name)))
	given.Description, given.GroupName, given.FeatureFlags, given.Schemas = "Gone", nil, nil, nil
	shown(must(client.EventType.Update(ctx, given.Name, models.EventTypeUpdate{
		Description: given.Description, Archived: given.Archived, Deprecated: given.Deprecated,
	})))
	shown(must(client.EventType.Get(ctx, given.Name)))
	expunge := svix.EventTypeDeleteOptions{Expunge: ptr(true)}
	check(client.EventType.Delete(ctx, given.Name, &expunge))
}

func anImport(client *svix.Svix) {
	given := models.EventTypeImportOpenApiIn{SpecRaw: ptr(spec), ReplaceAll: ptr(false)}
	made := must(client.EventType.ImportOpenapi(ctx, given, nil))
	same(made.Data.Modified, []string{"invoice.paid"})
	must(client.EventType.ImportOpenapi(ctx, given, nil))
	for _, name := range made.Data.Modified {
		check(client.EventType.Delete(ctx, name, nil))
	}
}

func anOperationalEndpoint(client *svix.Svix) {
	endpoints := client.OperationalWebhookEndpoint
	given := models.OperationalWebhookEndpointIn{
		Url: "https://ops.example.com/", Description: ptr("Ops"), Disabled: ptr(false),
		FilterTypes: []string{"message.attempt.exhausted", "endpoint.disabled"},
		Metadata:    &map[string]string{"team": "core"}, RateLimit: ptr(uint16(10)), Uid: ptr("ops"),
	}
	shown := func(found *models.OperationalWebhookEndpointOut) string {
		same(found.Url, given.Url)
		same(found.Description, *given.Description)
		same(found.Disabled, given.Disabled)
		same(found.FilterTypes, given.FilterTypes)
		same(found.Metadata, *given.Metadata)
		same(found.RateLimit, given.RateLimit)
		same(found.Uid, given.Uid)
		return found.Id
	}
	id := shown(must(endpoints.Create(ctx, given, nil)))
	shown(must(endpoints.Get(ctx, id)))
	secret := must(client.OperationalWebhook.Endpoint.GetSecret(ctx, id))
	same(secret.Key != "", true)
	given.Disabled, given.Metadata = ptr(true), &map[string]string{}
	given.RateLimit, given.Uid = nil, nil
	shown(must(endpoints.Update(ctx, id, models.OperationalWebhookEndpointUpdate{
		Url: given.Url, Description: given.Description, Disabled: given.Disabled,
		FilterTypes: given.FilterTypes, Metadata: given.Metadata,
	})))
	shown(must(endpoints.Get(ctx, id)))
	check(endpoints.Delete(ctx, id))
}
