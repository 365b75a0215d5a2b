//! What the API server does by the policies in `deploy/policies`, seen through the kubectl of people and of their tools.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{App, Cluster, User, scenario, wait_for};
use tokio::sync::OnceCell;

const ENOUGH: Duration = Duration::from_secs(30);

/// A namespace with the app `shop` in it: Deployment, Service and a route that nobody serves.
struct Shop<'a> {
    cluster: &'a Cluster,
    controller: &'static User,
    namespace: &'static str,
}

impl<'a> Shop<'a> {
    async fn open(cluster: &'a Cluster, namespace: &'static str) -> Result<Self> {
        let shop = Self { cluster, controller: installed(cluster).await?, namespace };
        cluster.namespace(namespace).await?;
        for manifest in [shop.app("1.0").deployment(), shop.service(), shop.route()] {
            shop.apply(&manifest).await?;
        }
        cluster.rolled_out(namespace, "shop").await?;
        Ok(shop)
    }

    fn app(&self, version: &str) -> App {
        App::new("shop", self.namespace).version(version)
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "shop", "namespace": self.namespace},
            "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": 9898}]},
        })
    }

    /// Rules that are to be split, and others that only look like it.
    fn route(&self) -> Value {
        let rule = |path: &str, backends: Value| {
            let path = json!({"type": "PathPrefix", "value": path});
            json!({"matches": [{"path": path}], "backendRefs": backends})
        };
        let filter = json!({"type": "RequestHeaderModifier",
            "requestHeaderModifier": {"set": [{"name": "x-shop", "value": "1"}]}});
        let redirect =
            json!({"type": "RequestRedirect", "requestRedirect": {"hostname": "example.org"}});
        let cart = json!({"name": "cart", "port": 80, "weight": 3});
        let import = json!({"name": "shop", "group": "example.com", "kind": "Import", "port": 80});
        let mut rules = vec![
            rule("/admin", json!([{"name": "admin", "port": 80}])),
            rule("/", json!([{"name": "shop", "port": 80, "filters": [filter]}])),
            rule("/five", json!([{"name": "shop", "port": 80, "weight": 5}])),
            rule("/cart", json!([{"name": "cart", "port": 80}])),
            rule("/two", json!([{"name": "shop", "port": 80}, cart])),
            rule("/here", json!([{"name": "shop", "namespace": self.namespace, "port": 80}])),
            rule("/elsewhere", json!([{"name": "shop", "namespace": "elsewhere", "port": 80}])),
            rule("/kind", json!([import])),
            rule("/none", json!([{"name": "shop", "port": 80, "weight": 0}])),
            rule("/most", json!([{"name": "shop", "port": 80, "weight": 10000}])),
            rule("/more", json!([{"name": "shop", "port": 80, "weight": 10001}])),
            json!({"filters": [redirect]}),
        ];
        rules[1]["timeouts"] = json!({"request": "10s"});
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "shop", "namespace": self.namespace},
            "spec": {"parentRefs": [{"name": "public"}], "rules": rules},
        })
    }

    /// As `user`; arguments are what stands between spaces.
    async fn kubectl_as(&self, user: &User, args: &str, input: &str) -> Result<String> {
        let args: Vec<&str> = ["-n", self.namespace].into_iter().chain(args.split(' ')).collect();
        self.cluster.kubectl_as(user, &args, input).await
    }

    async fn kubectl(&self, args: &str) -> Result<String> {
        self.kubectl_as(self.cluster.admin(), args, "").await
    }

    async fn controller(&self, args: &str) -> Result<String> {
        self.kubectl_as(self.controller, &format!("{args} --field-manager=tidegate"), "").await
    }

    /// As tools do that keep a cluster in sync with Git: server-side, by force.
    async fn apply(&self, manifest: &Value) -> Result<()> {
        let args = "apply --server-side --force-conflicts --field-manager=owner -f -";
        let admin = self.cluster.admin();
        self.kubectl_as(admin, args, &manifest.to_string()).await.map(drop)
    }

    /// `kubectl diff` is empty, in both styles; it fails if it isn't.
    async fn in_sync(&self, manifest: &Value) -> Result<()> {
        let admin = self.cluster.admin();
        for style in ["", " --server-side --force-conflicts --field-manager=owner"] {
            self.kubectl_as(admin, &format!("diff -f -{style}"), &manifest.to_string()).await?;
        }
        Ok(())
    }

    async fn get(&self, what: &str) -> Result<Value> {
        let text = self.kubectl(&format!("get {what} -o json --show-managed-fields")).await?;
        Ok(serde_json::from_str(&text)?)
    }

    async fn adopt(&self) -> Result<()> {
        self.controller("label deployment shop tidegate.dev/canary=shop").await.map(drop)
    }

    /// Image and `paused` of the Deployment.
    async fn held(&self) -> Result<(String, bool)> {
        let spec = self.get("deployment shop").await?["spec"].take();
        let image = spec["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        let tag = image.rsplit(':').next().unwrap_or_default();
        Ok((tag.to_owned(), spec["paused"] == true))
    }

    async fn selector(&self) -> Result<Value> {
        Ok(self.get("service shop").await?["spec"]["selector"].take())
    }

    async fn split(&self, service: &str, share: &str) -> Result<Value> {
        self.controller(&format!(
            "annotate httproute shop --overwrite split.tidegate.dev/{service}{share}"
        ))
        .await?;
        self.get("httproute shop").await
    }
}

/// `name weight` of each backend of a rule.
fn backends(route: &Value, rule: usize) -> String {
    let refs = route["spec"]["rules"][rule]["backendRefs"].as_array().cloned().unwrap_or_default();
    let refs =
        refs.iter().map(|b| format!("{} {}", b["name"].as_str().unwrap_or("?"), b["weight"]));
    refs.collect::<Vec<_>>().join(", ")
}

/// Installs everything as users do, once for all stories, and waits until each policy is in force.
async fn installed(cluster: &Cluster) -> Result<&'static User> {
    static CONTROLLER: OnceCell<User> = OnceCell::const_new();
    let install = async || {
        cluster.install().await?;
        // The policies are there first: no order is asked of whoever installs.
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/crds/gateway-api-1.6.1");
        cluster.kubectl(&["apply", "--server-side", "-f", crds]).await?;
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).await?;
        let controller = cluster.service_account("tidegate-system", "tidegate").await?;
        in_force(cluster).await?;
        Ok(controller)
    };
    CONTROLLER.get_or_try_init(install).await
}

async fn in_force(cluster: &Cluster) -> Result<()> {
    let admin = cluster.admin();
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"rules": [{"backendRefs": [{"name": "probe", "port": 80}]}]},
    });
    let action = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "CanaryAction",
        "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"canary": "probe", "verb": "abort"},
    });
    cluster.apply(&route.to_string()).await?;
    let annotate = [
        "annotate",
        "httproute/probe",
        "split.tidegate.dev/probe=1",
        "--dry-run=server",
        "-o",
        "json",
    ];
    wait_for("the split", ENOUGH, async || {
        Ok(cluster.kubectl(&annotate).await?.contains("probe-canary").then_some(()))
    })
    .await?;
    let create = ["create", "-f", "-", "--dry-run=server", "-o", "jsonpath={.spec.actor}"];
    wait_for("the actor", ENOUGH, async || {
        Ok((cluster.kubectl_as(admin, &create, &action.to_string()).await? == "admin")
            .then_some(()))
    })
    .await
}

/// Refused, in these words.
fn refusal<T: std::fmt::Debug>(answer: Result<T>, says: &str) -> Result<()> {
    let text = format!("{:#}", answer.err().ok_or_else(|| anyhow::anyhow!("was not refused"))?);
    ensure!(text.contains(says), "refused, but not with {says:?}: {text}");
    Ok(())
}

#[test]
fn what_is_installed_twice_is_unchanged() -> Result<()> {
    scenario(&[], async |cluster| {
        installed(cluster).await?;
        let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");
        let said = cluster.kubectl(&["apply", "-k", deploy, "--dry-run=server"]).await?;
        // The harness takes the controller's replica away.
        let changed =
            |l: &&str| !l.contains("unchanged") && !l.contains("deployment.apps/tidegate");
        let changed: Vec<&str> = said.lines().filter(changed).collect();
        ensure!(changed.is_empty(), "{changed:?}");
        Ok(())
    })
}

#[test]
fn a_new_revision_is_held_whoever_writes_it() -> Result<()> {
    scenario(&[], async |cluster| {
        let shop = Shop::open(cluster, "held").await?;
        shop.adopt().await?;
        shop.kubectl("scale deployment shop --replicas 3").await?;
        ensure!(shop.held().await? == ("1.0".into(), false), "nothing new, nothing held");

        let image = "set image deployment shop app=example.com/shop:2.0";
        let proof = format!("{image} --dry-run=server -o jsonpath={{.spec.paused}}");
        ensure!(shop.kubectl(&proof).await? == "true", "a dry run shows that it would be held");
        ensure!(shop.held().await? == ("1.0".into(), false), "and changes nothing");
        shop.kubectl(image).await?;
        ensure!(shop.held().await? == ("2.0".into(), true), "by kubectl set image");
        let new = shop.app("3.0").replicas(3).deployment();
        shop.apply(&new).await?;
        ensure!(shop.held().await? == ("3.0".into(), true), "by server-side apply");
        shop.in_sync(&new).await?;
        shop.apply(&new).await?;
        ensure!(shop.held().await?.1, "an apply of the same leaves it held");
        let managed = shop.get("deployment shop").await?["metadata"]["managedFields"].to_string();
        ensure!(!managed.contains("f:paused"), "nobody owns the field: {managed}");

        let both = json!({"metadata": {"labels": {"tidegate.dev/canary": null}},
            "spec": {"paused": false, "template": {"metadata": {"annotations": {"new": "4"}}}}});
        shop.kubectl(&format!("patch deployment shop --type merge -p {both}")).await?;
        ensure!(shop.held().await?.1, "held by the write that takes the label off, too");
        let kept = shop.get("deployment shop").await?["metadata"]["labels"].to_string();
        ensure!(kept.contains("tidegate.dev/canary"), "and still looked after: {kept}");
        let images =
            shop.kubectl("get pods -o jsonpath={.items[*].spec.containers[0].image}").await?;
        ensure!(images.split(' ').all(|i| i.ends_with(":1.0")), "old pods alone: {images}");
        Ok(())
    })
}

#[test]
fn nobody_but_the_controller_starts_a_held_revision() -> Result<()> {
    scenario(&[], async |cluster| {
        let shop = Shop::open(cluster, "guarded").await?;
        shop.adopt().await?;
        let new = shop.app("2.0").deployment();
        shop.apply(&new).await?;
        let held = "the new revision of deployment shop is held by canary shop; let it go on with: tidegate promote shop -n guarded";
        let admin = cluster.admin();
        refusal(shop.kubectl("rollout resume deployment shop").await, held)?;
        refusal(shop.kubectl_as(admin, "replace -f -", &new.to_string()).await, held)?;
        let both = json!({"metadata": {"labels": {"tidegate.dev/canary": null}}, "spec": {"paused": false}});
        refusal(
            shop.kubectl(&format!("patch deployment shop --type merge -p {both}")).await,
            held,
        )?;

        let oncall = cluster.user("oncall").await?;
        shop.kubectl("create rolebinding oncall --clusterrole edit --user oncall").await?;
        let unpause = json!({"spec": {"paused": false}});
        let unpause = format!("patch deployment shop --type merge -p {unpause}");
        let forged = format!("{unpause} --field-manager=tidegate");
        wait_for("the right to edit", ENOUGH, async || {
            let answer = shop.kubectl_as(&oncall, &forged, "").await;
            Ok(format!("{answer:?}").contains(held).then_some(()))
        })
        .await?;
        refusal(shop.kubectl_as(shop.controller, &unpause, "").await, held)?;

        let other = json!({"spec": {"paused": false, "template": {"metadata": {"annotations": {"new": "3"}}}}});
        shop.controller(&format!("patch deployment shop --type merge -p {other}")).await?;
        ensure!(
            shop.held().await?.1,
            "not even the controller starts what is new in this very write"
        );
        shop.controller(&unpause).await?;
        ensure!(!shop.held().await?.1, "the controller does");
        cluster.rolled_out("guarded", "shop").await
    })
}

#[test]
fn whoever_takes_the_label_off_is_free() -> Result<()> {
    scenario(&[], async |cluster| {
        let shop = Shop::open(cluster, "free").await?;
        shop.adopt().await?;
        shop.apply(&shop.app("2.0").deployment()).await?;
        shop.kubectl("label deployment shop tidegate.dev/canary-").await?;
        ensure!(shop.held().await?.1, "one step more");
        shop.kubectl("rollout resume deployment shop").await?;
        cluster.rolled_out("free", "shop").await?;
        shop.apply(&shop.app("3.0").deployment()).await?;
        ensure!(shop.held().await? == ("3.0".into(), false), "it rolls as ever");
        Ok(())
    })
}

#[test]
fn a_pinned_service_selects_one_hash_whatever_its_owner_applies() -> Result<()> {
    scenario(&[], async |cluster| {
        let shop = Shop::open(cluster, "pinned").await?;
        let (plain, service) = (json!({"app": "shop"}), shop.service());
        let pinned = |hash: &str| json!({"app": "shop", "pod-template-hash": hash});
        let pin = "label service shop --overwrite tidegate.dev/stable-hash";
        shop.controller(&format!("{pin}=abc1")).await?;
        ensure!(shop.selector().await? == pinned("abc1"), "one write pins");
        shop.apply(&service).await?;
        ensure!(shop.selector().await? == pinned("abc1"), "an owner's apply keeps it");
        shop.in_sync(&service).await?;
        let mut other = service.clone();
        other["spec"]["ports"][0]["targetPort"] = json!(9899);
        shop.apply(&other).await?;
        let port = shop.kubectl("get service shop -o jsonpath={.spec.ports[0].targetPort}").await?;
        ensure!(port == "9899", "what else the owner changes goes through: {port}");

        shop.controller(&format!("{pin}=def2")).await?;
        ensure!(shop.selector().await? == pinned("def2"), "another hash");
        shop.controller(&format!("{pin}=")).await?;
        ensure!(shop.selector().await? == pinned("def2"), "an empty one changes nothing");
        shop.controller(&format!("{pin}-")).await?;
        ensure!(shop.selector().await? == plain, "one write lets go");
        shop.controller(&format!("{pin}=abc1")).await?;
        shop.kubectl_as(cluster.admin(), "replace -f -", &service.to_string()).await?;
        ensure!(shop.selector().await? == plain, "so does an owner's replace");
        Ok(())
    })
}

#[test]
fn a_split_route_comes_back_as_its_owner_wrote_it() -> Result<()> {
    scenario(&[], async |cluster| {
        let shop = Shop::open(cluster, "split").await?;
        let (owners, before) = (shop.route(), shop.get("httproute shop").await?);
        shop.split("shop", "=0").await?;
        let route = shop.split("shop", "=10").await?;
        ensure!(backends(&route, 1) == "shop 90, shop-canary 10", "{}", backends(&route, 1));
        ensure!(backends(&route, 2) == "shop 450, shop-canary 50", "{}", backends(&route, 2));
        for (rule, shape) in [(0, "admin 1"), (4, "shop 1, cart 3"), (6, "shop 1"), (7, "shop 1")] {
            ensure!(backends(&route, rule) == shape, "rule {rule}: {}", backends(&route, rule));
        }
        let refs = &route["spec"]["rules"][1]["backendRefs"];
        ensure!(refs[1]["filters"] == refs[0]["filters"], "filters are copied: {refs}");

        shop.apply(&owners).await?;
        shop.in_sync(&owners).await?;
        let after = shop.get("httproute shop").await?;
        ensure!(
            after["metadata"]["generation"] == route["metadata"]["generation"],
            "nothing to change"
        );
        let owner_of_rules: Vec<&Value> = list(&after["metadata"]["managedFields"])
            .filter(|m| m["fieldsV1"]["f:spec"]["f:rules"].is_object())
            .map(|m| &m["manager"])
            .collect();
        ensure!(owner_of_rules == ["owner"], "{owner_of_rules:?}");

        let mut slower = owners.clone();
        slower["spec"]["rules"][1]["timeouts"]["request"] = json!("20s");
        if let Some(rules) = slower["spec"]["rules"].as_array_mut() {
            rules.swap(0, 2);
        }
        shop.apply(&slower).await?;
        let after = shop.get("httproute shop").await?;
        ensure!(
            after["spec"]["rules"][1]["timeouts"]["request"] == "20s",
            "the owner's edit goes through"
        );
        ensure!(backends(&after, 0) == "shop 450, shop-canary 50", "wherever the rule is now");
        shop.apply(&owners).await?;

        let cart = shop.split("cart", "=25").await?;
        ensure!(
            backends(&cart, 3) == "cart 75, cart-canary 25",
            "another canary on the same route"
        );
        let cart = shop.split("shop", "-").await?;
        ensure!(backends(&cart, 1) == "shop 1", "each is let go by itself");
        ensure!(backends(&cart, 3) == "cart 75, cart-canary 25", "{}", backends(&cart, 3));
        let after = shop.split("cart", "-").await?;
        ensure!(after["spec"] == before["spec"], "as before: {}", after["spec"]);

        shop.split("shop", "=50").await?;
        shop.kubectl_as(cluster.admin(), "replace -f -", &owners.to_string()).await?;
        let after = shop.get("httproute shop").await?;
        ensure!(after["spec"] == before["spec"], "an owner's replace lets go, too");
        Ok(())
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[test]
fn an_action_has_its_author_s_name_and_needs_the_right_of_its_verb() -> Result<()> {
    scenario(&[], async |cluster| {
        let shop = Shop::open(cluster, "acts").await?;
        let (admin, oncall) = (cluster.admin(), cluster.user("oncall").await?);
        let action = |name: &str, canary: &str, verb: &str| {
            json!({
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "CanaryAction",
                "metadata": {"name": name, "namespace": "acts"},
                "spec": {"canary": canary, "verb": verb, "actor": "somebody"},
            })
            .to_string()
        };
        let rules = json!([
            {"apiGroups": ["tidegate.dev"], "resources": ["canaryactions"], "verbs": ["create"]},
            {"apiGroups": ["tidegate.dev"], "resources": ["canaries"], "verbs": ["abort"], "resourceNames": ["shop"]},
        ]);
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "abort", "namespace": "acts"}, "rules": rules});
        cluster.apply(&role.to_string()).await?;
        shop.kubectl("create rolebinding abort --role abort --user oncall").await?;
        wait_for("the right to abort", ENOUGH, async || {
            shop.kubectl_as(&oncall, "create -f -", &action("first", "shop", "abort"))
                .await
                .map(Some)
        })
        .await?;
        let first = shop.get("canaryaction first").await?["spec"].take();
        ensure!(first["actor"] == "oncall", "whatever was written: {first}");
        refusal(
            shop.kubectl_as(&oncall, "create -f -", &action("second", "shop", "promote")).await,
            "oncall may not promote canary shop; needs the verb promote on canaries.tidegate.dev/shop in namespace acts",
        )?;
        refusal(
            shop.kubectl_as(&oncall, "create -f -", &action("second", "cart", "abort")).await,
            "oncall may not abort canary cart",
        )?;
        for change in [json!({"spec": {"verb": "promote"}}), json!({"spec": {"actor": "admin"}})] {
            let patch = format!("patch canaryaction first --type merge -p {change}");
            refusal(
                shop.kubectl_as(admin, &patch, "").await,
                "the spec of an action can't be changed",
            )?;
        }
        shop.kubectl("label canaryaction first seen=yes").await.map(drop)
    })
}

#[test]
fn the_shipped_roles_allow_what_they_say_and_no_more() -> Result<()> {
    scenario(&[], async |cluster| {
        let shop = Shop::open(cluster, "roles").await?;
        for (role, user) in [("view", "reader"), ("edit", "oncall")] {
            shop.kubectl(&format!("create rolebinding {role} --clusterrole {role} --user {user}"))
                .await?;
        }
        let (reader, oncall) = (cluster.user("reader").await?, cluster.user("oncall").await?);
        // `auth can-i` ends with 1 for no, which is an error here.
        let can = async |user: &User, what: &str| {
            shop.kubectl_as(user, &format!("auth can-i -q {what}"), "").await.is_ok()
        };
        let canaries = "canaries.tidegate.dev/shop";
        wait_for("the roles", ENOUGH, async || {
            let (a, b) =
                (can(&reader, "get canaries.tidegate.dev").await, can(&oncall, "get pods").await);
            Ok((a && b).then_some(()))
        })
        .await?;
        for verb in ["promote", "abort", "retry"] {
            ensure!(can(&oncall, &format!("{verb} {canaries}")).await, "edit may {verb}");
            ensure!(!can(&reader, &format!("{verb} {canaries}")).await, "view may not {verb}");
        }
        for (user, what) in [
            (&reader, "create canaryactions.tidegate.dev"),
            (&oncall, "release canaries.tidegate.dev/shop"),
            (&oncall, "create canaryruns.tidegate.dev"),
            (&oncall, "patch canaryruns.tidegate.dev"),
            (&oncall, "patch canaryactions.tidegate.dev"),
            (&oncall, "patch canaryactions.tidegate.dev --subresource=status"),
            (shop.controller, "get secrets"),
            (shop.controller, "create pods"),
            (shop.controller, "patch pods"),
            (shop.controller, "delete services"),
            (shop.controller, "delete httproutes.gateway.networking.k8s.io"),
            (shop.controller, "create canaryactions.tidegate.dev"),
            (shop.controller, "patch nodes"),
            (shop.controller, "create roles.rbac.authorization.k8s.io"),
        ] {
            ensure!(!can(user, what).await, "{} may {what}", user.name);
        }
        Ok(())
    })
}
