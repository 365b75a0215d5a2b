//! Templates of custom queries: `{{ name }}` is replaced, and conditions and loops work. There are
//! no filters, functions or includes: a query is `PromQL` with a few names in it.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, Value};

use crate::query::ArmContext;

/// What `{{ … }}` may name, beside `variables.<name>`.
const NAMES: [&str; 4] = ["interval", "namespace", "service", "workload"];

/// Why a custom query can't be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("query template, line {line}: {message}")]
    Syntax { line: usize, message: String },
    #[error("query template: unknown name `{name}`; there are {known}")]
    Unknown { name: String, known: String },
    #[error(
        "query template: {name} is {value:?}, and a quote, backslash or control character would \
         end or change the label's string; write that part into the query itself"
    )]
    Unsafe { name: String, value: String },
}

/// Checks a custom query before anything moves. It may use `namespace`, `workload`, `service`,
/// `interval` (the window's length, as in `30s`) and `variables.<name>`. Names are checked in every
/// branch, also in those not taken.
pub fn lint(query: &str, variables: &BTreeMap<String, String>) -> Result<(), TemplateError> {
    let name = || "name".to_owned();
    let arm = ArmContext {
        namespace: name(),
        workload: name(),
        service: name(),
        ..ArmContext::default()
    };
    render(query, &arm, "1s", variables).map(drop)
}

/// `query` for one arm, with the white space around it removed.
pub(crate) fn render(
    query: &str,
    arm: &ArmContext,
    interval: &str,
    variables: &BTreeMap<String, String>,
) -> Result<String, TemplateError> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let template = environment.template_from_str(query).map_err(|error| syntax(&error))?;
    only_known(&template.undeclared_variables(true), variables)?;

    let values = [
        ("namespace", arm.namespace.as_str()),
        ("workload", &arm.workload),
        ("service", &arm.service),
        ("interval", interval),
    ];
    for (name, value) in &values {
        safe(name, value)?;
    }
    for (name, value) in variables {
        safe(&format!("variables.{name}"), value)?;
    }
    let context: BTreeMap<&str, Value> = values
        .into_iter()
        .map(|(name, value)| (name, Value::from(value)))
        .chain([("variables", Value::from(variables.clone()))])
        .collect();
    let text = template.render(Value::from(context)).map_err(|error| syntax(&error))?;
    Ok(text.trim().to_owned())
}

fn only_known<'a>(
    used: impl IntoIterator<Item = &'a String>,
    variables: &BTreeMap<String, String>,
) -> Result<(), TemplateError> {
    let known = |name: &str| match name.strip_prefix("variables.") {
        Some(variable) => variables.contains_key(variable),
        None => NAMES.contains(&name) || name == "variables",
    };
    // The first by name: the set has no order, and a message must not change from look to look.
    match used.into_iter().filter(|name| !known(name)).min() {
        None => Ok(()),
        Some(name) => Err(TemplateError::Unknown {
            name: name.clone(),
            known: NAMES
                .map(str::to_owned)
                .into_iter()
                .chain(variables.keys().map(|name| format!("variables.{name}")))
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// A value lands inside of a label's string, whose quotes may be of any kind.
fn safe(name: &str, value: &str) -> Result<(), TemplateError> {
    let unsafe_in_label = |c: char| matches!(c, '"' | '\'' | '`' | '\\') || c.is_control();
    if value.contains(unsafe_in_label) {
        return Err(TemplateError::Unsafe { name: name.to_owned(), value: value.to_owned() });
    }
    Ok(())
}

fn syntax(error: &minijinja::Error) -> TemplateError {
    TemplateError::Syntax {
        line: error.line().unwrap_or(1),
        message: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout() -> ArmContext {
        ArmContext {
            namespace: "shop".into(),
            workload: "checkout".into(),
            service: "checkout".into(),
            ..ArmContext::default()
        }
    }

    fn variables(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn renders(query: &str, given: &[(&str, &str)], text: &str) {
        assert_eq!(render(query, &checkout(), "30s", &variables(given)).as_deref(), Ok(text));
        assert_eq!(lint(query, &variables(given)), Ok(()));
    }

    #[track_caller]
    fn refused(query: &str, given: &[(&str, &str)], message: &str) {
        let error = lint(query, &variables(given)).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(render(query, &checkout(), "30s", &variables(given)), Err(error));
    }

    #[test]
    fn names_are_replaced() {
        renders(
            r#"sum(queue{ns="{{ namespace }}",app="{{ workload }}",svc='{{ service }}'})"#,
            &[],
            r#"sum(queue{ns="shop",app="checkout",svc='checkout'})"#,
        );
        renders("\n  sum(rate(x[{{ interval }}]))\n", &[], "sum(rate(x[30s]))");
        renders(
            r#"sum(basket_errors{shop="{{ variables.shop }}"})"#,
            &[("shop", "eu")],
            r#"sum(basket_errors{shop="eu"})"#,
        );
        renders(r#"x{a="{{ variables["shop"] }}"}"#, &[("shop", "eu")], r#"x{a="eu"}"#);
        renders("{% if variables.x == 'y' %}a{% else %}b{% endif %}", &[("x", "y")], "a");
        renders("x{path=~\"/api/.*\"}", &[], "x{path=~\"/api/.*\"}");
    }

    #[test]
    fn an_unknown_name_is_named_and_the_known_ones_are_listed() {
        let known = "there are interval, namespace, service, workload";
        refused("{{ depl }}", &[], &format!("query template: unknown name `depl`; {known}"));
        refused("{{ zz }}{{ aa }}", &[], &format!("query template: unknown name `aa`; {known}"));
        refused(
            "{{ variables.shp }}",
            &[("shop", "eu")],
            &format!("query template: unknown name `variables.shp`; {known}, variables.shop"),
        );
        refused(
            "{% if false %}{{ typo }}{% endif %}",
            &[],
            &format!("query template: unknown name `typo`; {known}"),
        );
        refused("{{ range(9) }}", &[], &format!("query template: unknown name `range`; {known}"));
        refused(
            "{{ workload.name }}",
            &[],
            &format!("query template: unknown name `workload.name`; {known}"),
        );
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        refused(
            "sum(\n  x{a=\"{{ workload }\"})",
            &[],
            "query template, line 2: unexpected `}`, expected end of variable block",
        );
        refused("{{ workload|upper }}", &[], "query template, line 1: filter upper is unknown");
        refused(
            "\n{{ variables['shp'] }}",
            &[("shop", "eu")],
            "query template, line 2: undefined value",
        );
    }

    #[test]
    fn a_value_cannot_leave_its_string() {
        for bad in ["a\"} or vector(1) #", "a'b", "a`b", "a\\", "a\nb"] {
            let error = lint("x{a=\"{{ variables.v }}\"}", &variables(&[("v", bad)])).unwrap_err();
            assert_eq!(
                error,
                TemplateError::Unsafe { name: "variables.v".into(), value: bad.into() }
            );
        }
    }
}
