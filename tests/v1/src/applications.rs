//! The life of an application through wadm's own client: put, list, get, deploy, status, versions, undeploy, delete.

use crate::step;
use anyhow::{ensure, Context, Result};
use std::path::PathBuf;
use std::time::Duration;
use wadm_client::{error::ClientError, Client};
use wadm_types::api::{ModelSummary, Status, StatusType};

pub async fn walk(nats: async_nats::Client, lattice: &str, manifest: &str) -> Result<()> {
    let client = Client::from_nats_client(lattice, None, nats);
    let path = PathBuf::from(manifest);
    step!("list of nothing", first_answer(&client).await?.is_empty());
    let unknown = client.get_manifest("unknown", None).await;
    step!("get of what is not there", matches!(unknown, Err(ClientError::NotFound(_))));

    let (name, version) = client.put_manifest(path.as_path()).await?;
    step!("put", !name.is_empty() && !version.is_empty());
    let twice = client.put_manifest(path.as_path()).await;
    step!(
        "put of the same version",
        matches!(&twice, Err(ClientError::ApiError(text)) if text.contains(&format!("{version} already exists"))),
    );
    let summaries = client.list_manifests().await?;
    step!(
        "list",
        summaries.len() == 1,
        summaries[0].name == name && summaries[0].version == version,
        summaries[0].deployed_version.is_none(),
    );
    let stored = client.get_manifest(&name, Some(&version)).await?;
    step!("get", stored.metadata.name == name, !stored.spec.components.is_empty());
    let versions = client.list_versions(&name).await?;
    step!("versions", versions.len() == 1 && versions[0].version == version && !versions[0].deployed);

    let (deployed, _) = client.deploy_manifest(&name, Some(&version)).await?;
    step!("deploy", deployed == name);
    let status = settled(&client, &name, StatusType::Deployed).await?;
    step!(
        "status of what is deployed",
        !status.scalers.is_empty(),
        status.scalers.iter().all(|scaler| scaler.info.status_type == StatusType::Deployed),
        status.scalers.iter().all(|scaler| !scaler.id.is_empty() && !scaler.kind.is_empty() && !scaler.name.is_empty()),
    );
    step!("versions, deployed", client.list_versions(&name).await?[0].deployed);
    let summaries = client.list_manifests().await?;
    step!("list, deployed", summaries[0].deployed_version.as_ref() == Some(&version));
    let missing = client.deploy_manifest(&name, Some("v0.0.0-missing")).await;
    step!("deploy of a version that is not there", missing.is_err());

    step!("undeploy", client.undeploy_manifest(&name).await? == name);
    settled(&client, &name, StatusType::Undeployed).await?;
    step!("versions, undeployed", !client.list_versions(&name).await?[0].deployed);
    step!("delete", client.delete_manifest(&name, None).await?);
    step!("delete again", !client.delete_manifest(&name, None).await?);
    step!("list after all", client.list_manifests().await?.is_empty());
    Ok(())
}

/// The list, once there is somebody who answers.
async fn first_answer(client: &Client) -> Result<Vec<ModelSummary>> {
    for _ in 0..100 {
        if let Ok(summaries) = client.list_manifests().await {
            return Ok(summaries);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(client.list_manifests().await?)
}

/// The status, once it is what it should become.
async fn settled(client: &Client, name: &str, wanted: StatusType) -> Result<Status> {
    let mut last = None;
    for _ in 0..300 {
        let status = client.get_manifest_status(name).await?;
        if status.info.status_type == wanted {
            return Ok(status);
        }
        last = Some(status);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(false, "the status does not become {wanted:?}: {last:?}");
    last.context("no status")
}
