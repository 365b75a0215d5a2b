use std::fmt::Write as _;
use std::path::Path;

use rollout::{Answer, Effect, Match, Phase, Rest, Shape, Stage, Verb};

use crate::clock::{Time, secs, start};
use crate::plans::revision;
use crate::world::{Taken, World};

/// A world whose doings are written down.
pub(crate) struct Story {
    pub(crate) world: World,
    text: String,
    told: usize,
    last: String,
}

impl Story {
    pub(crate) fn new(world: World) -> Self {
        let head = "time   where                  canary has   stored    pods  why\n";
        let mut story = Self { world, text: head.to_owned(), told: 0, last: String::new() };
        story.world.now = start();
        story
    }

    /// Something that happens to the world, said in words.
    pub(crate) fn then(&mut self, words: &str, what: impl FnOnce(&mut World)) {
        self.tell();
        let _ = writeln!(self.text, "       == {words} ==");
        what(&mut self.world);
    }

    pub(crate) fn bump(&mut self, to: &str) {
        self.then(&format!("the owner writes {to}"), |w| w.bump(to));
    }

    pub(crate) fn asks(&mut self, verb: Verb, why: &str) {
        let word = match verb {
            Verb::Promote => "promote",
            Verb::Abort => "abort",
            Verb::Retry => "retry",
        };
        self.then(&format!("ann asks: {word}"), |w| w.ask(verb, why));
    }

    pub(crate) fn wait(&mut self, seconds: i64) {
        let end = self.world.now + secs(seconds);
        while self.world.now < end {
            self.world.second();
        }
        self.tell();
    }

    /// Until the run, or what there is without one, is at this place.
    pub(crate) fn until(&mut self, place: &str) {
        for _ in 0..3600 {
            if self.place().contains(place) {
                return self.tell();
            }
            self.world.second();
        }
        self.tell();
        panic!("never reached {place}:\n{}", self.text);
    }

    pub(crate) fn until_over(&mut self) {
        self.world.second();
        for _ in 0..3600 {
            if self.world.run.is_none() {
                break;
            }
            self.world.second();
        }
        self.wait(5);
        assert!(self.world.run.is_none(), "no end:\n{}", self.text);
    }

    pub(crate) fn place(&self) -> String {
        place(self.world.run.as_ref().map(|(_, phase)| phase), self.world.rest)
    }

    fn tell(&mut self) {
        for taken in &self.world.steps[self.told..] {
            let line = line(taken);
            if line != self.last || !taken.changed.is_empty() || taken.answer.is_some() {
                let _ = writeln!(self.text, "{}  {line}", clock(taken.at));
            }
            self.last = line;
            if !taken.changed.is_empty() {
                let words: Vec<_> = taken.changed.iter().map(effect).collect();
                let _ = writeln!(self.text, "         > {}", words.join(", "));
            }
            if let Some(answer) = &taken.answer {
                let words = match answer {
                    Answer::Accepted => "accepted".to_owned(),
                    Answer::Refused(why) => format!("refused: {why}"),
                };
                let _ = writeln!(self.text, "         < {words}");
            }
            if let Some(outage) = &taken.outage {
                let _ = writeln!(self.text, "         ! {outage}");
            }
        }
        self.told = self.world.steps.len();
    }

    /// Users are served all the time, whatever happens.
    pub(crate) fn ends_without_outage_as(self, name: &str) {
        assert!(!self.text.contains("         !"), "users were not served:\n{}", self.text);
        self.ends_as(name);
    }

    pub(crate) fn ends_as(mut self, name: &str) {
        self.tell();
        is_golden(name, &self.text);
    }

    /// What has been told so far is of no interest.
    pub(crate) fn begin_here(&mut self, words: &str) {
        self.tell();
        self.text = format!("\n       == {words} ==\n");
    }

    pub(crate) fn text(mut self) -> String {
        self.tell();
        self.text
    }
}

pub(crate) fn is_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.txt"));
    #[expect(clippy::disallowed_methods, reason = "how golden files are refreshed")]
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let hint = "golden file differs; refresh with UPDATE_GOLDEN=1";
    assert!(golden == text, "{name}: {hint}; now it is:\n{text}");
}

fn line(taken: &Taken) -> String {
    let place = place(taken.after.as_ref(), taken.rest);
    let run = taken.run.as_ref();
    let intended = taken.after.as_ref().zip(run).and_then(|(phase, run)| phase.shape(run));
    let intended = short(intended.as_ref());
    let (seen, reason) = (&taken.seen, &taken.reason);
    let (stored, pods) = (short(seen.traffic.stored.as_ref()), seen.canary.ready);
    format!("{place:22} {intended:12} {stored:9} {pods:<5} {}: {reason}", reason.name())
}

pub(crate) fn place(phase: Option<&Phase>, rest: Rest) -> String {
    match phase {
        None => format!("{rest:?}"),
        Some(Phase::Progressing(p)) => {
            let stage = match p.stage.at {
                Stage::Check(_) => "Check".to_owned(),
                other => format!("{other:?}"),
            };
            format!("step {} {stage}", p.step + 1)
        }
        Some(Phase::Promoting(p)) => format!("Promoting {:?}", p.stage.at),
        Some(Phase::RollingBack(r)) => format!("RollingBack {:?}", r.stage.at),
        Some(Phase::Orphaned(_)) => "Orphaned".to_owned(),
        Some(Phase::Ended(_)) => "Ended".to_owned(),
    }
}

/// `10 %`, and `T` where testers reach the canary, `M` where others that match do, `+20 %` where 20 % are mirrored.
fn short(shape: Option<&Shape>) -> String {
    let Some(shape) = shape else { return "-".to_owned() };
    let (testers, others): (Vec<_>, Vec<_>) = shape.matches.iter().partition(|m| is_tester(m));
    let mut text = shape.weight.to_string();
    text += if testers.is_empty() { "" } else { " T" };
    text += if others.is_empty() { "" } else { " M" };
    shape.mirror.map_or(text.clone(), |share| format!("{text} +{share}"))
}

fn is_tester(of: &Match) -> bool {
    of.conditions().iter().any(|condition| condition.name.contains("tester"))
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Pin(Some(revision)) => format!("service to {revision}"),
        Effect::Pin(None) => "service as written".to_owned(),
        Effect::Route(Some(shape)) => format!("route {shape}"),
        Effect::Route(None) => "route as written".to_owned(),
        Effect::Canary(Some(share)) => format!("canary for {share}"),
        Effect::Canary(None) => "canary deleted".to_owned(),
        Effect::Start(revision) => format!("deployment started at {revision}"),
        Effect::Only(revision) => format!("deployment held, only {revision}"),
        Effect::Hold => "deployment held".to_owned(),
    }
}

fn clock(at: Time) -> String {
    let seconds = (at - start()).num_seconds();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// The revisions whose pods the target has.
pub(crate) fn serving(world: &World) -> Vec<&'static str> {
    let sets = world.deployment.iter().flat_map(|d| &d.sets);
    let live: Vec<_> = sets.filter(|(_, s)| s.desired > 0).map(|(r, _)| r.clone()).collect();
    ["v1", "v2", "v3"].into_iter().filter(|name| live.contains(&revision(name))).collect()
}
