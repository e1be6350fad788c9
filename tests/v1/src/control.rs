//! Every operation of the control interface, its success flag, its message, its data, and the events that follow.

use crate::{events::Events, step};
use anyhow::{anyhow, Context, Result};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use wasmcloud_control_interface::{Client, ClientBuilder, CtlResponse, HostInventory, Link, RegistryCredential};

const NOBODY: &str = "nobody";

pub async fn walk(nats: async_nats::Client, lattice: &str, image: &str, other: &str, provider: &str) -> Result<()> {
    let client = ClientBuilder::new(nats.clone())
        .lattice(lattice)
        .timeout(Duration::from_secs(2))
        .auction_timeout(Duration::from_secs(1))
        .build();
    let mut events = Events::of(&nats, lattice).await?;
    let host = hosts(&client, lattice).await?;
    labels(&client, &host, &mut events).await?;
    components(&client, &host, image, other, &mut events).await?;
    providers(&client, &host, provider, &mut events).await?;
    configs(&client, &host, &mut events).await?;
    links(&client, &host, &mut events).await?;
    claims_and_registries(&client).await?;
    stop(&client, &host, &mut events).await
}

/// The clients wrap errors in a box that anyhow does not take.
fn done<T>(result: std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>) -> Result<T> {
    result.map_err(|error| anyhow!("{error}"))
}

fn said(response: &CtlResponse<()>) -> (bool, &str, bool) {
    (response.succeeded(), response.message(), response.data().is_some())
}

async fn hosts(client: &Client, lattice: &str) -> Result<String> {
    let hosts = done(client.get_hosts().await)?;
    step!("host.ping", hosts.len() == 1, hosts[0].succeeded(), hosts[0].message().is_empty());
    let host = hosts[0].data().context("host.ping has no data")?;
    step!(
        "host.ping data",
        host.id().len() == 56 && host.id().starts_with('N'),
        host.lattice() == lattice,
        !host.friendly_name().is_empty(),
        host.version().is_some_and(|version| version.split('.').count() >= 3),
        host.uptime_human().is_some_and(|text| text.ends_with('s')),
        host.ctl_host().is_some() && host.rpc_host().is_some(),
        host.labels().contains_key("hostcore.arch"),
        host.labels().contains_key("hostcore.os"),
        host.labels().contains_key("hostcore.osfamily"),
    );
    let inventory = inventory(client, host.id()).await?;
    step!(
        "host.get of an idle host",
        inventory.host_id() == host.id(),
        inventory.friendly_name() == host.friendly_name(),
        inventory.components().is_empty() && inventory.providers().is_empty(),
    );
    Ok(host.id().to_string())
}

async fn inventory(client: &Client, host: &str) -> Result<HostInventory> {
    let response = done(client.get_host_inventory(host).await)?;
    anyhow::ensure!(response.succeeded() && response.message().is_empty(), "host.get: {}", response.message());
    response.into_data().context("host.get has no data")
}

async fn labels(client: &Client, host: &str, events: &mut Events) -> Result<()> {
    let put = done(client.put_label(host, "zone", "a").await)?;
    step!("label.put", said(&put) == (true, "successfully put label", false));
    let changed = events.next("labels_changed", host).await?;
    step!("labels_changed", changed["labels"]["zone"] == "a", changed["host_id"] == host);
    let core = done(client.put_label(host, "HostCore.os", "plan9").await)?;
    step!("label.put of the host's own", said(&core) == (false, "hostcore.* labels cannot be set dynamically", false));
    step!("label in the inventory", inventory(client, host).await?.labels()["zone"] == "a");
    let deleted = done(client.delete_label(host, "zone").await)?;
    step!("label.del", said(&deleted) == (true, "successfully deleted label", false));
    let again = done(client.delete_label(host, "zone").await)?;
    step!("label.del again", said(&again) == (true, "successfully deleted label (no such label)", false));
    Ok(())
}

async fn components(client: &Client, host: &str, image: &str, other: &str, events: &mut Events) -> Result<()> {
    let constraints = BTreeMap::from([("hostcore.osfamily".to_string(), "unix".to_string())]);
    let bids = done(client.perform_component_auction(image, "echo", constraints.clone()).await)?;
    step!("component.auction", bids.len() == 1, bids[0].succeeded(), bids[0].message().is_empty());
    let bid = bids[0].data().context("a bid has no data")?;
    step!(
        "component.auction data",
        // as JSON: this client's component_id() answers the reference
        serde_json::to_value(bid)?
            == json!({"component_ref": image, "component_id": "echo", "host_id": host, "constraints": constraints}),
    );
    let nowhere = BTreeMap::from([("zone".to_string(), "moon".to_string())]);
    let bids = done(client.perform_component_auction(image, "echo", nowhere).await)?;
    step!("component.auction nobody bids for", bids.is_empty());

    let mine = BTreeMap::from([("team".to_string(), "blue".to_string())]);
    let scaled = done(client.scale_component(host, image, "echo", 3, Some(mine), vec![]).await)?;
    step!("component.scale", said(&scaled) == (true, "", false));
    let event = events.next("component_scaled", host).await?;
    step!(
        "component_scaled",
        event["component_id"] == "echo",
        event["image_ref"] == image,
        event["max_instances"] == 3,
        event["annotations"]["team"] == "blue",
        event.get("claims").is_none() && event.get("public_key").is_none(),
    );
    let seen = inventory(client, host).await?;
    let echo = seen.components().first().context("the inventory has no component")?;
    step!(
        "component in the inventory",
        (echo.id(), echo.image_ref(), echo.max_instances(), echo.revision()) == ("echo", image, 3, 0),
        echo.annotations().is_some_and(|annotations| annotations["team"] == "blue"),
    );
    let bids = done(client.perform_component_auction(image, "echo", BTreeMap::new()).await)?;
    step!("component.auction of what runs here", bids.is_empty());

    let scaled = done(client.scale_component(host, other, "echo", 5, None, vec![]).await)?;
    step!(
        "component.scale with another image",
        scaled.succeeded() && scaled.data().is_none(),
        scaled.message().starts_with("Requested to scale existing component to a different image reference:"),
    );
    let event = events.next("component_scaled", host).await?;
    step!("component_scaled keeps the image", event["image_ref"] == image, event["max_instances"] == 5);

    let missing = done(client.update_component(host, NOBODY, other, None).await)?;
    step!("component.update of nobody", said(&missing) == (false, "component nobody not found", false));
    let same = done(client.update_component(host, "echo", image, None).await)?;
    step!("component.update to the same", said(&same) == (true, &format!("component echo already updated to {image}"), false));
    let updated = done(client.update_component(host, "echo", other, None).await)?;
    step!("component.update", said(&updated) == (true, &format!("component echo updating from {image} to {other}"), false));
    let (new, old) = (events.next("component_scaled", host).await?, events.next("component_scaled", host).await?);
    step!(
        "component_scaled after an update",
        new["image_ref"] == other && new["max_instances"] == 5,
        old["image_ref"] == image && old["max_instances"] == 0,
    );

    let absent = done(client.scale_component(host, "file:///no/such.wasm", "absent", 1, None, vec![]).await)?;
    step!("component.scale of what does not exist", said(&absent) == (true, "", false));
    let event = events.next("component_scale_failed", host).await?;
    step!(
        "component_scale_failed",
        event["component_id"] == "absent" && event["image_ref"] == "file:///no/such.wasm",
        event["error"].as_str().is_some_and(|text| !text.is_empty()),
    );
    let stopped = done(client.scale_component(host, other, "echo", 0, None, vec![]).await)?;
    step!("component.scale to nothing", said(&stopped) == (true, "", false));
    let event = events.next("component_scaled", host).await?;
    step!("component_scaled to nothing", event["max_instances"] == 0 && event["image_ref"] == other);
    step!("nothing in the inventory", inventory(client, host).await?.components().is_empty());
    Ok(())
}

async fn providers(client: &Client, host: &str, image: &str, events: &mut Events) -> Result<()> {
    let bids = done(client.perform_provider_auction(image, "http", BTreeMap::new()).await)?;
    step!("provider.auction", bids.len() == 1, bids[0].succeeded(), bids[0].message().is_empty());
    let bid = bids[0].data().context("a bid has no data")?;
    step!(
        "provider.auction data",
        serde_json::to_value(bid)?
            == json!({"provider_ref": image, "provider_id": "http", "host_id": host, "constraints": {}}),
    );
    let mine = BTreeMap::from([("team".to_string(), "blue".to_string())]);
    let started = done(client.start_provider(host, image, "http", Some(mine), vec![]).await)?;
    step!("provider.start", said(&started) == (true, "successfully started provider", false));
    let event = events.next("provider_started", host).await?;
    step!(
        "provider_started",
        event["provider_id"] == "http" && event["image_ref"] == image,
        event["annotations"]["team"] == "blue",
        event.get("claims").is_none(),
    );
    let seen = inventory(client, host).await?;
    let http = seen.providers().first().context("the inventory has no provider")?;
    step!("provider in the inventory", (http.id(), http.image_ref(), http.revision()) == ("http", Some(image), 0));
    let again = done(client.start_provider(host, image, "http", None, vec![]).await)?;
    step!("provider.start again", said(&again) == (false, "provider with that ID is already running", false));
    let unknown = done(client.start_provider(host, "example.com/unknown:1", "unknown", None, vec![]).await)?;
    step!("provider.start of what does not exist", unknown.succeeded());
    let event = events.next("provider_start_failed", host).await?;
    step!(
        "provider_start_failed",
        event["provider_id"] == "unknown" && event["provider_ref"] == "example.com/unknown:1",
        event["error"].as_str().is_some_and(|text| !text.is_empty()),
    );
    let stopped = done(client.stop_provider(host, "http").await)?;
    step!("provider.stop", said(&stopped) == (true, "successfully stopped provider", false));
    let event = events.next("provider_stopped", host).await?;
    step!("provider_stopped", event["provider_id"] == "http" && event["reason"] == "stop");
    let again = done(client.stop_provider(host, "http").await)?;
    step!("provider.stop again", said(&again) == (false, "provider with that ID is not running", false));
    Ok(())
}

async fn configs(client: &Client, host: &str, events: &mut Events) -> Result<()> {
    let none = done(client.get_config("settings").await)?;
    step!("config.get of what is not there", none.succeeded(), none.message() == "Configuration not found", none.data().is_none());
    let values = HashMap::from([("greeting".to_string(), "hello".to_string())]);
    let put = done(client.put_config("settings", values.clone()).await)?;
    step!("config.put", said(&put) == (true, "successfully put config", false));
    step!("config_set", events.next("config_set", host).await?["config_name"] == "settings");
    let got = done(client.get_config("settings").await)?;
    step!("config.get", got.succeeded(), got.message().is_empty(), got.data() == Some(&values));
    Ok(())
}

async fn links(client: &Client, host: &str, events: &mut Events) -> Result<()> {
    let link = |target: &str, configs: &[&str]| {
        Link::builder()
            .source_id("echo")
            .target(target)
            .name("default")
            .wit_namespace("wasi")
            .wit_package("keyvalue")
            .interfaces(vec!["store".to_string(), "atomics".to_string()])
            .target_config(configs.iter().map(ToString::to_string).collect())
            .build()
    };
    let mine = done(link("store", &["settings"]))?;
    let put = done(client.put_link(mine.clone()).await)?;
    step!("link.put", said(&put) == (true, "successfully set link", false));
    let event = events.next("linkdef_set", host).await?;
    step!("linkdef_set", event["source_id"] == "echo" && event["target"] == "store" && event["target_config"][0] == "settings");
    let other = done(client.put_link(done(link("elsewhere", &[]))?).await)?;
    let conflict = "link already exists with different target, consider deleting the existing link or using a different link name";
    step!("link.put with another target", said(&other) == (false, conflict, false));
    step!("linkdef_set_failed", events.next("linkdef_set_failed", host).await?["error"] == conflict);
    let missing = done(client.put_link(done(link("store", &["missing"]))?).await)?;
    step!(
        "link.put with a config that is not there",
        !missing.succeeded(),
        missing.message().contains("Configuration missing not found in config store"),
    );
    // what was put shows once the host's watch has seen it
    let mut seen = vec![];
    for _ in 0..200 {
        seen = done(client.get_links().await)?.into_data().context("link.get has no data")?;
        if !seen.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    step!("link.get", seen == vec![mine]);
    let deleted = done(client.delete_link("echo", "default", "wasi", "keyvalue").await)?;
    step!("link.del", said(&deleted) == (true, "successfully deleted link", false));
    let event = events.next("linkdef_deleted", host).await?;
    step!("linkdef_deleted", event["source_id"] == "echo" && event["target"] == "store");
    let again = done(client.delete_link("echo", "default", "wasi", "keyvalue").await)?;
    step!("link.del again", said(&again) == (true, "successfully deleted link", false));
    let event = events.next("linkdef_deleted", host).await?;
    step!("linkdef_deleted of nothing", event["source_id"] == "echo" && event.get("target").is_none());
    let nobody = done(client.delete_link(NOBODY, "default", "wasi", "keyvalue").await)?;
    step!("link.del of a source without links", said(&nobody) == (true, "successfully deleted link (spec doesn't exist)", false));
    let deleted = done(client.delete_config("settings").await)?;
    step!("config.del", said(&deleted) == (true, "successfully deleted config", false));
    step!("config_deleted", events.next("config_deleted", host).await?["config_name"] == "settings");
    let dotted = done(client.put_config("with.dots", HashMap::new()).await)?;
    step!("config.put of a name with dots", said(&dotted) == (false, "unsupported subject", false));
    Ok(())
}

async fn claims_and_registries(client: &Client) -> Result<()> {
    let claims = done(client.get_claims().await)?;
    step!("claims.get", claims.succeeded(), claims.message().is_empty(), claims.data().is_some_and(Vec::is_empty));
    let credential = RegistryCredential::from_username_password("user", "password", "oci");
    let put = done(client.put_registries(HashMap::from([("registry.example.com".to_string(), credential)])).await)?;
    step!("registry.put", put.succeeded());
    Ok(())
}

async fn stop(client: &Client, host: &str, events: &mut Events) -> Result<()> {
    let stopped = done(client.stop_host(host, Some(1000)).await)?;
    step!("host.stop", said(&stopped) == (true, "successfully handled stop host", false));
    let event = events.next("host_stopped", host).await?;
    step!("host_stopped", event["labels"]["hostcore.osfamily"] == "unix");
    Ok(())
}
