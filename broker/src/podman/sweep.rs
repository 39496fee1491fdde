//! Removes what brokers that are gone left behind.

use super::client::Client;
use super::owner;
use super::wire::WireError;

/// Removes all containers of ours that nobody uses any more; gives how many.
///
/// # Errors
/// When Podman cannot say what there is. One that cannot be removed is only told.
pub async fn sweep(client: &Client) -> Result<usize, WireError> {
    let mut count = 0;
    for container in client.labelled(owner::OWNER).await? {
        if !owner::is_abandoned(&container.labels) {
            continue;
        }
        match client.remove(&container.id).await {
            Ok(()) => count += 1,
            Err(error) => {
                tracing::warn!(container = container.id, %error, "a container that was left behind stays");
            }
        }
    }
    Ok(count)
}
