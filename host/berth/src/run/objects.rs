//! Objects through the API: applied, deleted and read.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use berth_api::{LoadError, Loaded, Object, load};
use berth_control::ports::ObjectKey;
use berth_control::{Applied, ApplyOutcome, Refused};

use super::engine::Engine;
use super::kinds;
use crate::server::error::Refusal;
use crate::server::page::{self, Page};
use crate::token::Role;
use crate::wire::{Items, ObjectRef, Objects, Outcome, Sources};

impl Engine {
    /// Objects of one kind, ascending by kind in full, namespace and name. Secrets are shown to those alone who may write.
    pub(crate) fn objects(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        page: &Page,
        role: Role,
    ) -> Result<Objects, Refusal> {
        let kind = self.kind(kind)?;
        if kind == "Secret" && role == Role::Read {
            return Err(Refusal::read_only("this token does not read Secrets"));
        }
        let after = page.after_object()?;
        let fits = |key: &ObjectKey| {
            last(&key.kind) == kind
                && (namespace.is_empty() || key.namespace.is_empty() || *key.namespace == *namespace)
                && (name.is_empty() || *key.name == *name)
                && after.as_ref().is_none_or(|after| key > after)
        };
        let keys = self.controller.keys().into_iter().filter(fits);
        let place = |key: &ObjectKey| page::place(&key.namespace, &key.name, &key.kind);
        let (items, next) = page.fill(keys, |key| self.controller.get(key), place);
        Ok(Objects { kind, items, next })
    }

    /// The proper spelling of a kind.
    pub(super) fn kind(&self, word: &str) -> Result<String, Refusal> {
        let keys = self.controller.keys();
        kinds::resolve(word, keys.iter().map(|key| &*key.kind))
            .map_err(|hint| Refusal::not_found(format!("there is no kind {word:?}")).hint(hint))
    }

    pub(crate) fn apply(&mut self, loaded: &Loaded, dry_run: bool) -> Result<Items<Outcome>, Refusal> {
        self.fleet_fits(loaded)?;
        let now = self.simulation.now();
        let applied = if dry_run {
            self.controller.preview(&loaded.objects, now)
        } else {
            self.controller.apply(loaded.objects.clone(), now)
        };
        let applied = applied.map_err(|refused| self.refusal(refused, loaded))?;
        if !dry_run {
            self.fleet_changed(loaded)?;
        }
        let items =
            applied.iter().zip(&loaded.objects).map(|(applied, object)| outcome(applied, object, &loaded.warnings));
        Ok(Items::all(items.collect()))
    }

    /// Deletes what `references` name. All names are looked up before anything is deleted.
    pub(crate) fn delete(&mut self, references: &[ObjectRef]) -> Result<Items<Outcome>, Refusal> {
        let known = self.controller.keys();
        let mut keys = Vec::new();
        for reference in references {
            let kind = self.kind(&reference.kind)?;
            let fits = |key: &ObjectKey| {
                last(&key.kind) == kind
                    && *key.name == *reference.name
                    && (key.namespace.is_empty() || *key.namespace == *reference.namespace)
            };
            let missing = ObjectKey {
                kind: kind.as_str().into(),
                namespace: reference.namespace.as_str().into(),
                name: reference.name.as_str().into(),
            };
            let found = known.iter().find(|key| fits(key)).cloned();
            keys.push(found.unwrap_or(missing));
        }
        self.delete_keys(&keys)
    }

    /// Deletes what manifests name.
    pub(crate) fn delete_all(&mut self, loaded: &Loaded) -> Result<Items<Outcome>, Refusal> {
        let keys: Vec<ObjectKey> = loaded.objects.iter().map(|object| ObjectKey::from(&object.key())).collect();
        self.delete_keys(&keys)
    }

    fn delete_keys(&mut self, keys: &[ObjectKey]) -> Result<Items<Outcome>, Refusal> {
        let now = self.simulation.now();
        let deleted = self.controller.delete_all(keys, now);
        let deleted = deleted.map_err(|refused| self.refusal(refused, &Loaded::default()))?;
        let item = |(key, deleted): (&ObjectKey, bool)| Outcome {
            kind: last(&key.kind).to_owned(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            outcome: if deleted { "deleted" } else { "not found" }.to_owned(),
            warnings: Vec::new(),
        };
        Ok(Items::all(keys.iter().zip(deleted).map(item).collect()))
    }

    /// Whether the fleet could still be simulated with what is to be applied: known before anything is written, because a
    /// store with a fleet that cannot be simulated would keep the program from starting again.
    fn fleet_fits(&self, loaded: &Loaded) -> Result<(), Refusal> {
        if !loaded.objects.iter().any(is_of_fleet) {
            return Ok(());
        }
        let mut fleet: BTreeMap<_, Object> =
            self.controller.fleet_objects().into_iter().map(|object| (object.key(), object)).collect();
        fleet.extend(loaded.objects.iter().map(|object| (object.key(), object.clone())));
        let fleet: Vec<Object> = fleet.into_values().collect();
        berth_sim::check_fleet(&fleet).map_err(|error| invalid(vec![error.to_string()]))
    }

    /// Lets the simulated fleet follow what was applied.
    fn fleet_changed(&mut self, loaded: &Loaded) -> Result<(), Refusal> {
        if loaded.objects.iter().any(is_of_fleet) {
            self.simulation.set_fleet(&self.controller.fleet_objects()).map_err(|error| Refusal::internal(&error))?;
            // The journal goes with the fleet as it was.
            self.save().map_err(|error| Refusal::internal(error.as_ref()))?;
        }
        Ok(())
    }

    /// A store that cannot be written stops the program; the client is told all the same.
    fn refusal(&mut self, refused: Refused, loaded: &Loaded) -> Refusal {
        match refused {
            Refused::Invalid(refusals) => {
                let place = |name: &str| {
                    let at =
                        loaded.objects.iter().position(|object| ObjectKey::from(&object.key()).to_string() == name)?;
                    loaded.objects.get(at).zip(loaded.places.get(at))
                };
                let line = |refusal: &berth_control::Refusal| match place(&refusal.object) {
                    Some((object, place)) => place.error(object, refusal.issue.clone()).to_string(),
                    None => refusal.to_string(),
                };
                invalid(refusals.iter().map(line).collect())
            }
            Refused::Store(error) => {
                let refusal = Refusal::internal(&error);
                self.failed = Some(error);
                refusal
            }
        }
    }
}

fn is_of_fleet(object: &Object) -> bool {
    matches!(object, Object::Cluster(_) | Object::NodePool(_) | Object::Offering(_))
}

fn last(kind: &str) -> &str {
    kind.rsplit('/').next().unwrap_or(kind)
}

/// Reads all sources. Every fault of every source is named.
pub(crate) fn load_all(sources: &Sources) -> Result<Loaded, Refusal> {
    let (mut all, mut faults) = (Loaded::default(), Vec::new());
    for source in &sources.sources {
        match load(&source.name, &source.text) {
            Ok(loaded) => {
                all.objects.extend(loaded.objects);
                all.places.extend(loaded.places);
                all.warnings.extend(loaded.warnings);
            }
            Err(errors) => faults.extend(errors.iter().map(ToString::to_string)),
        }
    }
    if faults.is_empty() { Ok(all) } else { Err(invalid(faults)) }
}

fn invalid(faults: Vec<String>) -> Refusal {
    let message = match faults.len() {
        1 => "refused for 1 fault".to_owned(),
        count => format!("refused for {count} faults"),
    };
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
        .hint("nothing was changed; mend it and try again")
        .details(faults)
}

fn outcome(applied: &Applied, object: &Object, loaded: &[LoadError]) -> Outcome {
    let name = object.key().to_string();
    let read = loaded.iter().filter(|warning| warning.object == name).map(|warning| warning.issue.to_string());
    Outcome {
        kind: object.kind().to_owned(),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
        outcome: match applied.outcome {
            ApplyOutcome::Created => "created",
            ApplyOutcome::Configured => "configured",
            ApplyOutcome::Unchanged => "unchanged",
        }
        .to_owned(),
        warnings: read.chain(applied.warnings.iter().map(ToString::to_string)).collect(),
    }
}
