//! The beat by which something is drawn while a run goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::Door;

/// How often something is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Begins to let whoever is told draw, again and again. Must run inside the runtime.
pub fn tick(door: &Arc<Door>) -> JoinHandle<()> {
    let door = Arc::clone(door);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            door.tick();
        }
    })
}
