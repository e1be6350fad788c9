//! What the lattice says happened, as wash listens to it: subscribed first, then waited for.

use anyhow::{Context, Result};
use futures::StreamExt;
use serde_json::Value;
use std::time::Duration;

pub struct Events(async_nats::Subscriber);

impl Events {
    pub async fn of(nats: &async_nats::Client, lattice: &str) -> Result<Self> {
        let subscriber = nats.subscribe(format!("wasmbus.evt.{lattice}.*")).await?;
        nats.flush().await?;
        Ok(Self(subscriber))
    }

    /// The data of the next event of a kind from a host, whatever else comes before it.
    pub async fn next(&mut self, kind: &str, source: &str) -> Result<Value> {
        let wanted = format!("com.wasmcloud.lattice.{kind}");
        let search = async {
            while let Some(message) = self.0.next().await {
                let event: Value = serde_json::from_slice(&message.payload)?;
                if event["type"] == wanted.as_str() && event["source"] == source {
                    return Ok(event["data"].clone());
                }
            }
            anyhow::bail!("the subscription ended")
        };
        tokio::time::timeout(Duration::from_secs(20), search)
            .await
            .with_context(|| format!("no {kind} came"))?
    }
}
