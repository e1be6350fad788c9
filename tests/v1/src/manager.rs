//! wadm itself, as its own program starts it.

use anyhow::Result;
use wadm::config::WadmConfig;

/// Runs until it fails or is killed; says when it listens.
pub async fn run(nats: &str) -> Result<()> {
    let config = WadmConfig {
        nats_server: nats.trim_start_matches("nats://").to_string(),
        cleanup_interval: 60,
        ..Default::default()
    };
    let mut tasks = wadm::start_wadm(config).await?;
    println!("listening");
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
