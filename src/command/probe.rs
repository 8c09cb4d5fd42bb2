//! `connect --probe`: every target, at most so many at once, each closed without a byte.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::connect::negative_if;
use super::reach::Resolved;
use super::retry::{Failure, LastTry};
use super::{Results, Run, retry};
use crate::args::{Connect, Target};
use crate::error::ExitCode;
use crate::event::Reason;
use crate::step::{self, Failed, now};

/// Probes every target once.
pub(super) async fn run(connect: &Arc<Connect>, run: &Arc<Run>) -> ExitCode {
    let (mut probe, mut results) = (Probe::new(connect, run), Results::default());
    let cause = run.stop.unless(probe.pass(None, &mut results)).await.err();
    probe.end(&mut results).await;
    if let Some(cause) = cause {
        let (all, left) = (connect.targets.len(), connect.targets.len() - results.ended);
        run.stopped(cause, &format!("{left} of {all} targets had answered"));
        // What was not reached when the run was told to stop has not answered, save to an earlier try, with which
        // it is at its end.
        for (at, last) in probe.last.iter().enumerate() {
            let Some(Failure { code, conn, began }) = last.failure() else { continue };
            step::probed(&run.door, began, &connect.targets[at].to_string(), at, conn, code);
            results.add(code);
        }
        if results.ended < all {
            results.add(ExitCode::NoAnswer);
        }
    }
    results.code()
}

/// A probe of many targets, pass after pass.
pub(super) struct Probe<'a> {
    connect: &'a Arc<Connect>,
    run: &'a Arc<Run>,
    parallel: usize,
    running: JoinSet<ExitCode>,
    /// Of each target.
    last: Arc<[LastTry]>,
}

impl<'a> Probe<'a> {
    /// Makes a probe, with room for the descriptors that it needs.
    pub(super) fn new(connect: &'a Arc<Connect>, run: &'a Arc<Run>) -> Self {
        step::raise_descriptors();
        let parallel = step::descriptors_for(connect.parallel.get());
        let last = connect.targets.iter().map(|_| LastTry::default()).collect();
        Self { connect, run, parallel, running: JoinSet::new(), last }
    }

    /// Connects to every target once, `round` being the number of the pass where there are several.
    pub(super) async fn pass(&mut self, round: Option<u64>, results: &mut Results) {
        // A host is looked up once a pass, however many of its ports are probed.
        let mut hosts: HashMap<String, Arc<Resolved>> = HashMap::new();
        let mut left = 0..self.connect.targets.len();
        loop {
            while self.running.len() < self.parallel
                && let Some(at) = left.next()
            {
                let host = match &self.connect.targets[at] {
                    Target::Inet(host, _) => host.to_string(),
                    Target::Unix(_) => String::new(),
                };
                let resolved = Arc::clone(hosts.entry(host).or_default());
                let (connect, run, last) = (Arc::clone(self.connect), Arc::clone(self.run), Arc::clone(&self.last));
                self.running.spawn(async move { test(&connect, at, &resolved, round, &last[at], &run).await });
            }
            match self.running.join_next().await {
                Some(code) => results.add(code.unwrap_or(ExitCode::Local)),
                None => return,
            }
        }
    }

    /// Gives up what is still under way; what has ended meanwhile counts.
    pub(super) async fn end(&mut self, results: &mut Results) {
        self.running.abort_all();
        while let Some(ended) = self.running.join_next().await {
            if let Ok(code) = ended {
                results.add(code);
            }
        }
    }
}

/// Connects to one target and closes.
async fn test(
    connect: &Connect,
    at: usize,
    resolved: &Resolved,
    round: Option<u64>,
    last: &LastTry,
    run: &Run,
) -> ExitCode {
    let (began, target) = (now(), &connect.targets[at]);
    let (mut conn, mut expires_soon) = (None, false);
    let reached = async {
        let stream = retry::connect(connect, at, resolved, last, run).await?;
        (conn, expires_soon) = (Some(stream.conn()), stream.expires_soon());
        let admitted = Box::pin(stream.admitted()).await;
        stream.close(admitted.map_or_else(Failed::reason, |()| Reason::Local));
        admitted
    };
    let reached = reached.await;
    let conn = conn.or(reached.err().and_then(|failed| failed.conn));
    let code = reached.map_or_else(|failed| failed.code, |()| ExitCode::Ok);
    last.set(None);
    let answer = negative_if(expires_soon, code);
    match round {
        Some(round) => step::round(&run.door, began, &target.to_string(), at, round, conn, code),
        None => step::probed(&run.door, began, &target.to_string(), at, conn, answer),
    }
    answer
}
