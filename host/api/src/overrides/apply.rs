//! One set of overriders on one manifest.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::{Map, Value};

use super::image;
use crate::interpret::{Kind, pod_specs};
use crate::object::Manifest;
use crate::resources::{
    CommandArgsOverrider, EnvOverrider, FieldOverrider, FieldPatch, ImageOverrider, LabelAnnotationOverrider,
    ListOperator, Operator, Overriders,
};
use crate::yaml;

/// Field below `overriders`, and what is wrong.
type Fault = (String, String);

const CONTAINERS: [&str; 2] = ["containers", "initContainers"];

pub(super) fn overriders(manifest: &mut Manifest, overriders: &Overriders) -> Result<(), Fault> {
    for (index, one) in overriders.image_overrider.iter().enumerate() {
        images(manifest, one).map_err(|problem| (format!("imageOverrider[{index}]"), problem))?;
    }
    for (list, field, key) in [
        (&overriders.command_overrider, "commandOverrider", "command"),
        (&overriders.args_overrider, "argsOverrider", "args"),
    ] {
        for (index, one) in list.iter().enumerate() {
            words(manifest, one, key).map_err(|problem| (format!("{field}[{index}]"), problem))?;
        }
    }
    for (index, one) in overriders.env_overrider.iter().enumerate() {
        environment(manifest, one).map_err(|problem| (format!("envOverrider[{index}]"), problem))?;
    }
    for (list, key) in [(&overriders.labels_overrider, "labels"), (&overriders.annotations_overrider, "annotations")] {
        for one in list {
            pairs(manifest, one, key);
        }
    }
    for (index, one) in overriders.field_overrider.iter().enumerate() {
        text(manifest, one).map_err(|problem| (format!("fieldOverrider[{index}]"), problem))?;
    }
    for (index, one) in overriders.plaintext.iter().enumerate() {
        patch(manifest.value_mut(), &one.path, one.operator, one.value.as_ref())
            .map_err(|problem| (format!("plaintext[{index}]"), problem))?;
    }
    Ok(())
}

fn images(manifest: &mut Manifest, overrider: &ImageOverrider) -> Result<(), String> {
    let pointers = match &overrider.predicate {
        Some(predicate) => vec![predicate.path.clone()],
        None => image_pointers(manifest),
    };
    for pointer in pointers {
        match manifest.value_mut().pointer_mut(&pointer) {
            Some(Value::String(name)) => {
                *name = image::change(name, overrider.component, overrider.operator, &overrider.value)?;
            }
            _ if overrider.predicate.is_some() => return Err(format!("there is no image at {pointer}")),
            _ => {}
        }
    }
    Ok(())
}

fn image_pointers(manifest: &Manifest) -> Vec<String> {
    if manifest.interpreted_as() == Kind::SparkApplication {
        return ["/spec/image", "/spec/driver/image", "/spec/executor/image"].map(str::to_owned).to_vec();
    }
    let mut pointers = Vec::new();
    for pod in pod_specs(manifest) {
        for list in CONTAINERS {
            let count =
                manifest.value().pointer(&format!("{pod}/{list}")).and_then(Value::as_array).map_or(0, Vec::len);
            pointers.extend((0..count).map(|index| format!("{pod}/{list}/{index}/image")));
        }
    }
    pointers
}

/// Runs `change` on every container of a name; a fault if there is none.
fn containers(
    manifest: &mut Manifest,
    name: &str,
    mut change: impl FnMut(&mut Map<String, Value>),
) -> Result<(), String> {
    let mut found = false;
    if manifest.interpreted_as() == Kind::SparkApplication {
        // Spark makes the containers; the operator passes these fields on to them.
        let role = match name {
            "spark-kubernetes-driver" | "driver" => "driver",
            "spark-kubernetes-executor" | "executor" => "executor",
            _ => "",
        };
        if let Some(Value::Object(spec)) = manifest.value_mut().pointer_mut(&format!("/spec/{role}")) {
            change(spec);
            return Ok(());
        }
    }
    for pod in pod_specs(manifest) {
        for list in CONTAINERS {
            let items = manifest.value_mut().pointer_mut(&format!("{pod}/{list}")).and_then(Value::as_array_mut);
            for container in items.into_iter().flatten().filter_map(Value::as_object_mut) {
                if container.get("name").and_then(Value::as_str) == Some(name) {
                    change(container);
                    found = true;
                }
            }
        }
    }
    if found { Ok(()) } else { Err(format!("there is no container {name:?}")) }
}

fn words(manifest: &mut Manifest, overrider: &CommandArgsOverrider, key: &str) -> Result<(), String> {
    if manifest.interpreted_as() == Kind::SparkApplication {
        return Err(
            "a SparkApplication has no command and args of its own; change spec.arguments by plaintext".to_owned()
        );
    }
    containers(manifest, &overrider.container_name, |container| {
        let mut list = container.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        match overrider.operator {
            ListOperator::Add => list.extend(overrider.value.iter().map(|word| Value::from(word.as_str()))),
            ListOperator::Remove => {
                list.retain(|word| !word.as_str().is_some_and(|word| overrider.value.iter().any(|gone| gone == word)));
            }
        }
        if list.is_empty() {
            container.shift_remove(key);
        } else {
            container.insert(key.to_owned(), list.into());
        }
    })
}

fn environment(manifest: &mut Manifest, overrider: &EnvOverrider) -> Result<(), String> {
    containers(manifest, &overrider.container_name, |container| {
        let mut list = container.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
        for variable in &overrider.value {
            let at = list.iter().position(|it| it.get("name").and_then(Value::as_str) == Some(&variable.name));
            let mut new = Map::new();
            new.insert("name".to_owned(), variable.name.as_str().into());
            match &variable.value_from {
                Some(from) => new.insert("valueFrom".to_owned(), from.clone()),
                None => new.insert("value".to_owned(), variable.value.clone().unwrap_or_default().into()),
            };
            match (overrider.operator, at) {
                (Operator::Remove, Some(at)) => {
                    list.remove(at);
                }
                (Operator::Add | Operator::Replace, Some(at)) => list[at] = Value::Object(new),
                (Operator::Add, None) => list.push(Value::Object(new)),
                (Operator::Remove | Operator::Replace, None) => {}
            }
        }
        if list.is_empty() {
            container.shift_remove("env");
        } else {
            container.insert("env".to_owned(), list.into());
        }
    })
}

fn pairs(manifest: &mut Manifest, overrider: &LabelAnnotationOverrider, key: &str) {
    let Some(Value::Object(metadata)) = manifest.value_mut().get_mut("metadata") else { return };
    let mut map = metadata.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in &overrider.value {
        match overrider.operator {
            Operator::Remove => {
                map.shift_remove(name);
            }
            Operator::Replace if !map.contains_key(name) => {}
            Operator::Add | Operator::Replace => {
                map.insert(name.clone(), value.as_str().into());
            }
        }
    }
    metadata.insert(key.to_owned(), map.into());
}

/// Changes a text that is JSON or YAML itself.
fn text(manifest: &mut Manifest, overrider: &FieldOverrider) -> Result<(), String> {
    let Some(Value::String(text)) = manifest.value_mut().pointer_mut(&overrider.field_path) else {
        return Err(format!("there is no text at {}", overrider.field_path));
    };
    let nodes = yaml::parse(text, &mut 0)
        .map_err(|error| format!("{}: line {}: {}", overrider.field_path, error.line, error.problem))?;
    let [node] = &nodes[..] else {
        return Err(format!("{} is not one document", overrider.field_path));
    };
    let mut value = node.value();
    let patches: &[FieldPatch] = if overrider.json.is_empty() { &overrider.yaml } else { &overrider.json };
    for one in patches {
        patch(&mut value, &one.sub_path, one.operator, one.value.as_ref())?;
    }
    *text = if overrider.json.is_empty() { yaml::write(&value) } else { value.to_string() };
    Ok(())
}

fn patch(value: &mut Value, path: &str, operator: Operator, new: Option<&Value>) -> Result<(), String> {
    let path = PointerBuf::parse(path).map_err(|_| format!("{path:?} is no JSON pointer"))?;
    let new = new.cloned().unwrap_or_default();
    let operation = match operator {
        Operator::Add => PatchOperation::Add(AddOperation { path, value: new }),
        Operator::Replace => PatchOperation::Replace(ReplaceOperation { path, value: new }),
        Operator::Remove => PatchOperation::Remove(RemoveOperation { path }),
    };
    json_patch::patch(value, &[operation]).map_err(|error| error.to_string())
}
