//! The container image as `deploy/docker-compose.yml` runs it: real calls on both kinds of network. Where these run, a Docker
//! engine does and the image is built: `make image-test`.

use anyhow::{Result, ensure};
use e2e::container::{docker, image};
use e2e::gateway::Gateway;
use e2e::scene::Scene;

/// Calls both ways, tone in and tone out; then it is asked to stop, and lets the call that there is end by itself.
async fn calls(service: &'static str) -> Result<()> {
    let gateway = Gateway::start_in_container(service).await?;
    let mut scene = Scene::set_at(gateway).await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    scene.page.click("hangup").await?;
    scene.page.call_over(None).await?;
    let mark = scene.phone.mark();
    scene.phone_calls_page().await?;
    scene.both_hear().await?;

    scene.house.gateway.container()?.is_healthy().await?;
    scene.house.gateway.command(&["drain", "--no-wait", "--timeout", "60"], "")?;
    ensure!(scene.house.gateway.get("/readyz").await?.starts_with("HTTP/1.1 503 "));
    scene.phone.hang_up().await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await?;
    scene.page.call_over(None).await
}

#[tokio::test]
#[ignore = "needs a Docker engine: make image-test"]
async fn calls_on_a_bridge_network() -> Result<()> {
    calls("causeway").await
}

#[tokio::test]
#[ignore = "needs a Docker engine: make image-test"]
async fn calls_on_the_network_of_the_host() -> Result<()> {
    calls("host").await
}

/// Small, nobody in particular, and nothing in it can be written to.
#[tokio::test]
#[ignore = "needs a Docker engine: make image-test"]
async fn the_container_has_no_rights_and_little_in_it() -> Result<()> {
    let size: u64 = docker(&["image", "inspect", "--format", "{{.Size}}", &image()])?.parse()?;
    let debug = std::env::var_os("CAUSEWAY_IMAGE_IS_DEBUG").is_some();
    ensure!(debug || size < 60_000_000, "{size} bytes");
    let gateway = Gateway::start_in_container("causeway").await?;
    let container = gateway.container()?;
    for (template, expected) in [
        ("{{.Config.User}}", "10001:10001"),
        ("{{.HostConfig.ReadonlyRootfs}}", "true"),
        ("{{.HostConfig.CapDrop}}", "[ALL]"),
        ("{{.HostConfig.Privileged}}", "false"),
        ("{{.HostConfig.SecurityOpt}}", "[no-new-privileges:true]"),
        ("{{.State.Running}}", "true"),
    ] {
        let found = container.inspect(template)?;
        ensure!(found == expected, "{template}: {found}");
    }
    container.is_healthy().await
}
