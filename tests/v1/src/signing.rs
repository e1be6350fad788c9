//! Signs a component as wash does, with keys of its own; prints its public key and that of its issuer.

use anyhow::{anyhow, Context, Result};
use nkeys::KeyPair;

pub fn sign(component: &str, signed: &str) -> Result<()> {
    let plain = std::fs::read(component).context("cannot read the component")?;
    let (subject, issuer) = (KeyPair::new_module(), KeyPair::new_account());
    let tags = vec!["one".to_string(), "two".to_string()];
    let bytes = wascap::wasm::sign_buffer_with_claims(
        "Echo".to_string(),
        plain,
        &subject,
        &issuer,
        Some(1),
        Some(0),
        tags,
        false,
        Some(7),
        Some("1.2.3".to_string()),
        Some("echo".to_string()),
    )
    .map_err(|error| anyhow!("{error}"))?;
    std::fs::write(signed, bytes).context("cannot write the signed component")?;
    println!("{}\n{}", subject.public_key(), issuer.public_key());
    Ok(())
}
