//! Service `bpfman.ext.v1.BpfmanFigures`: statistics as a stream of readings. All streams share their
//! readings: the kernel is queried about ten times a second, and once for each new stream. A stream postpones
//! the next reading while its client is slow, and holds at most the last one sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_model::{Peer, ProgramId};
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_figures_server::BpfmanFigures;
use bpfmand_access::AccessVerb;
use bpfmand_engine::Figures;
use bpfmand_kernel::Kernel;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::authorize::Permit;
use crate::figure_changes::ShownFigures;
use crate::figures_show;
use crate::places::ReadingBounds;
use crate::server::{Api, Reply, fail};
use crate::sessions::ObjectOwners;
use crate::{audit, status};

pub const FIGURE_STREAMS: ReadingBounds = ReadingBounds { most: 32, most_of_one: 8, working: 32 };
const INTERVALS: std::ops::RangeInclusive<u32> = 100..=60_000;
/// Time for which streams share a reading, below the shortest interval. A stream's first reading is always new.
const SHARED: Duration = Duration::from_millis(90);

struct Wanted {
    hook: String,
    others: bool,
    runs_timed: bool,
    changes_only: bool,
}

#[tonic::async_trait]
impl<K: Kernel> BpfmanFigures for Api<K> {
    type FollowFiguresStream = ReceiverStream<Result<wire::Figures, Status>>;

    async fn follow_figures(
        &self,
        request: Request<wire::FollowFiguresRequest>,
    ) -> Reply<Self::FollowFiguresStream> {
        let wire::FollowFiguresRequest { interval_ms, time_runs, hook, others, changes_only } =
            request.into_inner();
        if interval_ms != 0 && !INTERVALS.contains(&interval_ms) {
            return Err(status::invalid(format!(
                "an interval of {interval_ms} ms is not within {} to {} ms; 0 is one reading",
                INTERVALS.start(),
                INTERVALS.end()
            )));
        }
        let asked = Instant::now();
        let permit = self.authorize(&[])?;
        let caller = audit::caller()?;
        let verbs: &[AccessVerb] =
            if time_runs { &[AccessVerb::Read, AccessVerb::Trace] } else { &[AccessVerb::Read] };
        self.ensure_may(&caller, verbs)?;
        let place = self.figure_readers.enter(permit.account)?;
        let clock = match time_runs {
            true => {
                let count = |api: &Self| api.engine.kernel().count_runs().map_err(|error| fail(error.into()));
                Some(self.read(&permit, count).await?)
            }
            false => None,
        };
        let wanted = Wanted { hook, others, runs_timed: time_runs, changes_only };
        let first = self.figures_since(&permit, asked, others).await?;
        if !wanted.hook.is_empty() && !first.chains.iter().any(|chain| chain.hook == wanted.hook) {
            return Err(fail(bpfmand_engine::EngineError::NoChain { hook: wanted.hook }));
        }
        let (readings, stream) = mpsc::channel(1);
        let (api, ended, activity) = (self.clone(), self.watchers.ended(), self.activity());
        tokio::spawn(async move {
            let _place = place;
            let _clock = clock;
            // A daemon with a stream is not idle.
            let _running = activity.begin();
            let follow = async {
                let began = first.at;
                let mut interval =
                    (interval_ms > 0).then(|| every(Duration::from_millis(u64::from(interval_ms))));
                let mut figures = Ok(first);
                let mut told: Option<(Arc<Figures>, ObjectOwners)> = None;
                loop {
                    let Ok(room) = readings.reserve().await else { return };
                    let shown = figures.map(|figures| {
                        let owners = api.object_owners();
                        let shown = wanted.show((&figures, &owners), told.as_ref(), began);
                        told = wanted.changes_only.then_some((figures, owners));
                        shown
                    });
                    let failed = shown.is_err();
                    room.send(shown);
                    let Some(interval) = interval.as_mut().filter(|_| !failed) else { return };
                    interval.tick().await;
                    figures = match api.ensure_may(&caller, verbs) {
                        Ok(()) => api.figures_since(&permit, Instant::now() - SHARED, others).await,
                        Err(denied) => Err(denied),
                    };
                }
            };
            tokio::select! {
                () = follow => {}
                () = readings.closed() => {}
                () = ended => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Returns an interval that starts after one period. A slow client does not get several readings at once.
fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl<K: Kernel> Api<K> {
    fn ensure_may(&self, caller: &Peer, verbs: &[AccessVerb]) -> Result<(), Status> {
        let policy = self.policy_for(caller);
        verbs.iter().try_for_each(|verb| {
            policy.decide(caller, *verb, &[]).map(drop).map_err(|denial| status::denial(&denial))
        })
    }

    async fn figures_since(
        &self,
        permit: &Permit,
        since: Instant,
        others: bool,
    ) -> Result<Arc<Figures>, Status> {
        self.read(permit, move |api| api.figures.read(&api.engine, since, others).map_err(fail)).await
    }
}

impl Wanted {
    /// Converts a reading. `told` is the reading before, for a stream of changes.
    fn show(
        &self,
        (figures, owners): (&Figures, &ObjectOwners),
        told: Option<&(Arc<Figures>, ObjectOwners)>,
        began: Instant,
    ) -> wire::Figures {
        let mut shown = match told {
            Some((told, told_owners)) => {
                let mut changes = self.choose(figures).since(self.choose(told));
                // A session that ends may leave its programs, whose owner then changes.
                for program in self.choose(figures).programs {
                    let ProgramId(id) = program.id;
                    let is_new = owners.of_program(id) != told_owners.of_program(id);
                    if is_new && !changes.programs.iter().any(|one| one.id == id) {
                        changes.counts.retain(|one| one.id != id);
                        changes.programs.push(figures_show::program(program));
                    }
                }
                changes
            }
            None => self.choose(figures).whole(),
        };
        for program in shown.programs.iter_mut().filter(|program| !program.ours) {
            program.owner = owners.of_program(program.id);
        }
        wire::Figures {
            at_ns: u64::try_from(figures.at.saturating_duration_since(began).as_nanos()).unwrap_or(u64::MAX),
            runs_timed: self.runs_timed,
            ..shown
        }
    }

    fn choose<'a>(&self, figures: &'a Figures) -> ShownFigures<'a> {
        let of_hook = |chain: &&bpfmand_engine::ChainFigures| self.hook.is_empty() || chain.hook == self.hook;
        let chains: Vec<_> = figures.chains.iter().filter(of_hook).collect();
        let is_member = |id| {
            self.hook.is_empty()
                || chains.iter().any(|chain| chain.members.iter().any(|member| member.program.id == id))
        };
        let programs = figures.programs.iter().filter(|program| match &program.record {
            Some(_) => is_member(program.id),
            None => self.others && self.hook.is_empty(),
        });
        let maps = figures.maps.iter().filter(|map| map.programs.iter().any(|program| is_member(*program)));
        ShownFigures { programs: programs.collect(), maps: maps.collect(), chains }
    }
}
