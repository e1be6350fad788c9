//! The real clients of wasmCloud v1 against a running lattice: `wasmcloud-control-interface` walks every control
//! operation, `wadm-client` takes an application through its life. Each step that is not as v1 has it ends the program.
//!
//!     v1-clients control NATS LATTICE IMAGE OTHER-IMAGE PROVIDER
//!     v1-clients applications NATS LATTICE MANIFEST
//!
//! The real wadm, which then places applications onto hosts, until it is killed:
//!
//!     v1-clients wadm NATS
//!
//! And v1's own library signs a component, and says who it is then:
//!
//!     v1-clients sign COMPONENT SIGNED

mod applications;
mod control;
mod events;
mod manager;
mod signing;

use anyhow::{bail, Context, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["control", nats, lattice, image, other, provider] => {
            control::walk(connect(nats).await?, lattice, image, other, provider).await
        }
        ["applications", nats, lattice, manifest] => {
            applications::walk(connect(nats).await?, lattice, manifest).await
        }
        ["wadm", nats] => manager::run(nats).await,
        ["sign", component, signed] => signing::sign(component, signed),
        _ => bail!("what to do: control, applications, wadm or sign, and with what"),
    }
}

async fn connect(nats: &str) -> Result<async_nats::Client> {
    async_nats::connect(nats).await.context("cannot reach NATS")
}

/// Says that a step went well, or ends the program with where it did not.
#[macro_export]
macro_rules! step {
    ($name:expr, $($condition:expr),+ $(,)?) => {{
        $(anyhow::ensure!($condition, "{}: not {}", $name, stringify!($condition));)+
        println!("ok {}", $name);
    }};
}
