//! A tour of Hookline by Svix's SDK for Rust. See tests/acceptance/more_sdk_tours.py.
//!
//! Prints the id of each message once it is published, and reads what the endpoint got of it from
//! stdin: `{"headers": {...}, "body": "..."}`. Prints `done` at its end.

use std::{collections::BTreeSet, env, future::Future, io::stdin, process, time::Duration};

use chrono::Utc;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{json, Value};
use svix::{
    api::{Svix, SvixOptions},
    error::Error,
    models::{
        ApplicationIn, BackgroundTaskStatus, EndpointIn, EndpointPatch, EndpointSecretRotateIn,
        EventTypeUpsertIn, MessageIn, MessageOut, RecoverIn,
    },
    webhooks::Webhook,
};

const TYPE: &str = "tour.rust";

struct Tour {
    svix: Svix,
    app: String,
    endpoint: String,
}

fn variable(name: &str) -> String {
    env::var(name).expect(name)
}

fn payload() -> Value {
    json!({"text": "Zoë · 東京", "number": 1.5})
}

async fn until<F: Future<Output = bool>>(mut look: impl FnMut() -> F) {
    for _ in 0..300 {
        if look().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("this takes too long");
}

fn delivered(message: &str) -> (HeaderMap, String) {
    println!("{message}");
    let mut line = String::new();
    stdin().read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let headers = told["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value.as_str().unwrap()).unwrap();
            (name.parse::<HeaderName>().unwrap(), value)
        });
    (headers.collect(), told["body"].as_str().unwrap().to_owned())
}

fn verify(secret: &str, headers: &HeaderMap, body: &str) -> bool {
    Webhook::new(secret)
        .unwrap()
        .verify(body.as_bytes(), headers)
        .is_ok()
}

fn status<T>(result: Result<T, Error>) -> u16 {
    match result {
        Err(Error::Http(told)) => told.status.as_u16(),
        Err(Error::Validation(told)) => told.status.as_u16(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => 200,
    }
}

impl Tour {
    async fn begin() -> Self {
        let options = SvixOptions {
            server_url: Some(variable("URL")),
            ..SvixOptions::default()
        };
        let svix = Svix::new(variable("KEY"), Some(options));
        let uid = format!("tour-{}", process::id());
        let mut given = ApplicationIn::new("Tour".to_owned());
        given.uid = Some(uid.clone());
        let app = svix
            .application()
            .create(given.clone(), None)
            .await
            .unwrap();
        assert_eq!(svix.application().get(uid).await.unwrap().id, app.id);
        let again = svix.application().get_or_create(given, None).await.unwrap();
        assert_eq!(again.id, app.id);
        let kind = EventTypeUpsertIn::new("Of the tour".to_owned());
        svix.event_type()
            .upsert(TYPE.to_owned(), kind)
            .await
            .unwrap();
        let mut given = EndpointIn::new(variable("TARGET"));
        given.event_types = Some(BTreeSet::from([TYPE.to_owned()]));
        let endpoint = svix
            .endpoint()
            .create(app.id.clone(), given, None)
            .await
            .unwrap();
        let mut change = EndpointPatch::new();
        change.description = Some("Tour".to_owned());
        let (app, endpoint) = (app.id, endpoint.id);
        let patched = svix
            .endpoint()
            .patch(app.clone(), endpoint.clone(), change)
            .await
            .unwrap();
        assert_eq!(patched.description, "Tour");
        assert_eq!(
            svix.endpoint()
                .list(app.clone(), None)
                .await
                .unwrap()
                .data
                .len(),
            1
        );
        Self {
            svix,
            app,
            endpoint,
        }
    }

    async fn publish(&self) -> MessageOut {
        let given = MessageIn::new(TYPE.to_owned(), payload());
        self.svix
            .message()
            .create(self.app.clone(), given, None)
            .await
            .unwrap()
    }

    async fn secret(&self) -> String {
        let (app, endpoint) = (self.app.clone(), self.endpoint.clone());
        self.svix
            .endpoint()
            .get_secret(app, endpoint)
            .await
            .unwrap()
            .key
    }

    async fn attempted(&self, message: &str, number: usize) {
        until(|| async {
            let (app, message) = (self.app.clone(), message.to_owned());
            let found = self
                .svix
                .message_attempt()
                .list_by_msg(app, message, None)
                .await;
            found.unwrap().data.len() >= number
        })
        .await;
    }

    async fn a_message(&self) {
        let message = self.publish().await.id;
        let (headers, body) = delivered(&message);
        let secret = self.secret().await;
        assert!(verify(&secret, &headers, &body));
        assert!(!verify(&secret, &headers, &format!("{body} ")));
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), payload());
        self.attempted(&message, 1).await;
        let attempts = self.svix.message_attempt();
        let (app, endpoint) = (self.app.clone(), self.endpoint.clone());
        let places = attempts.list_attempted_destinations(app.clone(), message.clone(), None);
        assert_eq!(places.await.unwrap().data[0].id, endpoint);
        let tried = attempts.list_attempted_messages(app.clone(), endpoint.clone(), None);
        assert_eq!(tried.await.unwrap().data[0].id, message);
        attempts
            .resend(app, message.clone(), endpoint, None)
            .await
            .unwrap();
        let (headers, body) = delivered(&message);
        assert!(verify(&secret, &headers, &body));
        self.attempted(&message, 2).await;
    }

    async fn another_secret(&self) {
        let old = self.secret().await;
        let (app, endpoint) = (self.app.clone(), self.endpoint.clone());
        let given = EndpointSecretRotateIn::new();
        self.svix
            .endpoint()
            .rotate_secret(app, endpoint, given, None)
            .await
            .unwrap();
        let new = self.secret().await;
        assert_ne!(new, old);
        let message = self.publish().await.id;
        let (headers, body) = delivered(&message);
        assert!(verify(&old, &headers, &body) && verify(&new, &headers, &body));
        self.attempted(&message, 1).await;
    }

    async fn numbers_and_a_recovery(&self) {
        let (app, endpoint) = (&self.app, &self.endpoint);
        until(|| async {
            let found = self
                .svix
                .endpoint()
                .get_stats(app.clone(), endpoint.clone(), None)
                .await;
            found.unwrap().success == 3
        })
        .await;
        let since = RecoverIn::new(Utc::now() - Duration::from_secs(60));
        let endpoints = self.svix.endpoint();
        let begun = endpoints
            .recover(app.clone(), endpoint.clone(), since, None)
            .await;
        let task = begun.unwrap().id;
        until(|| async {
            let found = self.svix.background_task().get(task.clone()).await.unwrap();
            found.status == BackgroundTaskStatus::Finished
        })
        .await;
    }

    async fn end(&self) {
        let applications = self.svix.application();
        assert_eq!(status(applications.get("app_none".to_owned()).await), 404);
        let wrong = EndpointIn::new("ftp://x".to_owned());
        assert_eq!(
            status(
                self.svix
                    .endpoint()
                    .create(self.app.clone(), wrong, None)
                    .await
            ),
            422
        );
        assert_eq!(
            status(self.svix.ingest().source().list(None).await),
            501
        );
        self.svix
            .endpoint()
            .delete(self.app.clone(), self.endpoint.clone())
            .await
            .unwrap();
        applications.delete(self.app.clone()).await.unwrap();
        println!("done");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tour = Tour::begin().await;
    tour.a_message().await;
    tour.another_secret().await;
    tour.numbers_and_a_recovery().await;
    tour.end().await;
}
