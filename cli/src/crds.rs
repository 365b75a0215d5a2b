//! `tidegate crds`: the definitions, byte for byte as `deploy/crds/` has them.

use api::crds;

pub(crate) fn text() -> Result<String, serde_norway::Error> {
    let all = crds().iter().map(serde_norway::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(all.join("---\n"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_definitions_are_those_of_the_deployment() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        let files = ["canaries", "canaryruns", "canaryactions", "metrictemplates"]
            .map(|name| std::fs::read_to_string(dir.join(format!("{name}.yaml"))).unwrap());
        assert_eq!(super::text().unwrap(), files.join("---\n"));
    }
}
