//! The definitions in `deploy/crds/` are those of the types.

use std::fmt::Write;
use std::path::Path;

#[test]
fn the_definitions_in_deploy_are_those_of_the_types() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut stale = String::new();
    for crd in api::crds() {
        let path = dir.join(format!("{}.yaml", crd.spec.names.plural));
        let text = serde_norway::to_string(&crd).unwrap();
        if update {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&path, &text).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
            writeln!(stale, "{}", path.display()).unwrap();
        }
    }
    assert!(stale.is_empty(), "stale; refresh with UPDATE_GOLDEN=1 cargo test -p api:\n{stale}");
}
