//! `connect --count`: the whole of it again and again, each round in its slot.

use std::pin::pin;
use std::sync::Arc;

use super::connect::negative_if;
use super::probe::Probe;
use super::reach::Resolved;
use super::retry::LastTry;
use super::{Results, Run, retry, talk};
use crate::args::Connect;
use crate::error::ExitCode;
use crate::step::{self, Failed, Grid, now};

/// Walks so many rounds, 0 being without end, and exits by those that ended.
pub(super) async fn run(connect: &Arc<Connect>, count: u64, run: &Arc<Run>) -> ExitCode {
    let probe = connect.probe.then(|| Probe::new(connect, run));
    let mut rounds = Rounds { connect, run, probe, results: Results::default() };
    let cause = {
        let mut all = pin!(rounds.all(count));
        match run.stop.unless(&mut all).await {
            Ok(()) => None,
            Err(cause) => {
                // The connection that is cut off, when `all` is dropped, says so.
                run.door.ends(cause);
                Some(cause)
            }
        }
    };
    let Rounds { probe, mut results, .. } = rounds;
    if let Some(mut probe) = probe {
        probe.end(&mut results).await;
    }
    match cause {
        Some(cause) if results.ended == 0 => run.stopped(cause, "the first round had ended"),
        Some(cause) if count > 0 => {
            run.stopped(cause, &format!("all of {count} rounds had ended"));
            results.code()
        }
        _ => results.code(),
    }
}

struct Rounds<'a> {
    connect: &'a Arc<Connect>,
    run: &'a Arc<Run>,
    probe: Option<Probe<'a>>,
    results: Results,
}

impl Rounds<'_> {
    async fn all(&mut self, count: u64) {
        let mut grid = Grid::new(self.connect.repeat.interval);
        let mut has_warned = false;
        for round in 1.. {
            match &mut self.probe {
                Some(probe) => probe.pass(Some(round), &mut self.results).await,
                None => self.results.add(visit(self.connect, round, self.run).await),
            }
            if round == count {
                return;
            }
            if let Some(ago) = grid.overrun()
                && !has_warned
            {
                let ago = ago.as_secs_f64();
                let message = format!(
                    "round {round} ended {ago:.3} s after it was due to begin: slots of --interval that have passed are left out"
                );
                self.run.door.warn("rounds-missed", &message);
                has_warned = true;
            }
            self.run.door.room().await;
            grid.next().await;
        }
    }
}

/// Connects, talks and closes, and returns how that came out.
async fn visit(connect: &Connect, round: u64, run: &Run) -> ExitCode {
    let (began, target) = (now(), &connect.targets[0]);
    let (mut conn, mut expires_soon) = (None, false);
    let talked: Result<ExitCode, Failed> = async {
        let stream = retry::connect(connect, 0, &Resolved::default(), &LastTry::default(), run).await?;
        (conn, expires_soon) = (Some(stream.conn()), stream.expires_soon());
        talk::whole(stream, connect).await
    }
    .await;
    let conn = conn.or(talked.err().and_then(|failed| failed.conn));
    let code = talked.unwrap_or_else(|failed| failed.code);
    step::round(&run.door, began, &target.to_string(), 0, round, conn, code);
    // That a certificate expires soon is an answer, and no failure of the round.
    negative_if(expires_soon, code)
}
