//! All canaries in a table.

use api::{Canary, CanaryStatus};
use chrono::{DateTime, Utc};

use crate::clock::span;
use crate::screen::phase_tone;
use crate::text::{Align, Cell, Table};

/// Which columns there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Columns {
    pub(crate) namespace: bool,
    pub(crate) wide: bool,
}

pub(crate) fn table<'a>(
    canaries: impl IntoIterator<Item = &'a Canary>,
    columns: Columns,
    now: DateTime<Utc>,
) -> Table {
    let mut heads = vec![
        ("NAME", Align::Left),
        ("PHASE", Align::Left),
        ("STEP", Align::Left),
        ("WEIGHT", Align::Right),
    ];
    if columns.namespace {
        heads.insert(0, ("NAMESPACE", Align::Left));
    }
    if columns.wide {
        heads.extend([
            ("REVISION", Align::Left),
            ("RUN", Align::Left),
            ("SINCE", Align::Right),
            ("NEXT", Align::Right),
        ]);
    }
    heads.push(("WAITING FOR", Align::Left));
    let mut table = Table::new(heads);
    for canary in canaries {
        let mut row = plain(canary);
        if columns.namespace {
            row.insert(0, Cell::new(canary.metadata.namespace.clone().unwrap_or_default()));
        }
        let status = canary.status.clone().unwrap_or_default();
        if columns.wide {
            row.extend(wide(&status, now));
        }
        let message = status.waiting_for.map_or(String::new(), |w| w.message);
        row.push(Cell::new(message));
        table.row(row);
    }
    table
}

fn plain(canary: &Canary) -> Vec<Cell> {
    let status = canary.status.clone().unwrap_or_default();
    // A rollback is off the steps.
    let step = status.step.filter(|_| status.phase != "RollingBack");
    let phase = if status.phase.is_empty() { "Unknown".to_owned() } else { status.phase };
    let running = status.run.as_ref().is_some_and(|run| run.ended_at.is_none());
    let weight = status.traffic.filter(|_| running).map(|t| format!("{} %", t.intended));
    vec![
        Cell::new(canary.metadata.name.clone().unwrap_or_default()),
        Cell::toned(phase_tone(&phase), phase),
        dash(step),
        dash(weight),
    ]
}

fn wide(status: &CanaryStatus, now: DateTime<Utc>) -> [Cell; 4] {
    let waiting = status.waiting_for.as_ref();
    [
        dash(status.run.as_ref().map(|run| run.revision.clone())),
        dash(status.run.as_ref().map(|run| run.name.clone())),
        dash(waiting.map(|w| span(now - w.since))),
        dash(waiting.and_then(|w| w.next_at).map(|next| span(next - now))),
    ]
}

fn dash(text: Option<String>) -> Cell {
    Cell::new(text.unwrap_or_else(|| "-".to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::terminal::Paint;

    fn canaries() -> Vec<Canary> {
        let spec = json!({"targetRef": {"name": "x"}, "traffic": {"service": {"name": "x"}}});
        let object = |name: &str, status: serde_json::Value| {
            serde_json::from_value(json!({
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "Canary", "spec": spec,
                "metadata": {"name": name, "namespace": "shop"}, "status": status,
            }))
            .unwrap()
        };
        vec![
            object("basket", json!({"phase": "Idle", "traffic": {"intended": 0}})),
            object(
                "checkout",
                json!({
                    "phase": "Progressing", "step": "3/5", "traffic": {"intended": 25},
                    "run": {"name": "checkout-7f9c4-x2", "revision": "7f9c4", "startedAt": "2026-11-24T03:00:00Z",
                            "step": 3, "steps": 5, "failures": 0, "threshold": 5},
                    "waitingFor": {"reason": "CheckNotDue", "since": "2026-11-24T03:10:00Z", "nextAt": "2026-11-24T03:13:00Z",
                                   "message": "step 3: 3 of 4 checks passed, the next is not due yet"},
                }),
            ),
            object("new", json!(null)),
        ]
    }

    fn lines(columns: Columns, width: Option<usize>) -> Vec<String> {
        let now = "2026-11-24T03:12:45Z".parse().unwrap();
        table(&canaries(), columns, now).lines(Paint { colours: false }, width)
    }

    #[test]
    fn a_line_says_where_a_canary_stands() {
        let expected = [
            "NAME      PHASE        STEP  WEIGHT  WAITING FOR",
            "basket    Idle         -          -",
            "checkout  Progressing  3/5     25 %  step 3: 3 of 4 checks passed, the next is…",
            "new       Unknown      -          -",
        ];
        assert_eq!(lines(Columns::default(), Some(80)), expected);
    }

    #[test]
    fn there_is_more_of_it_if_it_is_asked_for() {
        let columns = Columns { namespace: true, wide: true };
        let expected = "shop       checkout  Progressing  3/5     25 %  7f9c4     checkout-7f9c4-x2  2m45s   15s  step 3: 3 of 4 checks passed, the next is not due yet";
        assert_eq!(lines(columns, None)[2], expected);
    }
}
