//! Image names of the form `[registry/]repository[:tag][@digest]`.

use crate::resources::{ImageComponent, Operator};

/// The parts of an image name. The tag part holds its separator: `:v1`, `@sha256:…` or both.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Image {
    registry: String,
    repository: String,
    tag: String,
}

/// The first part is a registry if it looks like a host: it has a dot or a port, or is `localhost`.
fn split(image: &str) -> Image {
    let (registry, rest) = match image.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => ("", image),
    };
    let end = rest.find(['@', ':']).unwrap_or(rest.len());
    let (repository, tag) = rest.split_at(end);
    Image { registry: registry.to_owned(), repository: repository.to_owned(), tag: tag.to_owned() }
}

fn join(image: &Image) -> String {
    let slash = if image.registry.is_empty() { "" } else { "/" };
    format!("{}{slash}{}{}", image.registry, image.repository, image.tag)
}

/// `value` as a tag or a digest, with its separator.
fn tag(value: &str) -> String {
    match value {
        "" => String::new(),
        value if value.starts_with([':', '@']) => value.to_owned(),
        value if value.starts_with("sha256:") => format!("@{value}"),
        value => format!(":{value}"),
    }
}

/// `add` appends to the part, `replace` puts `value` in its place, `remove` empties it.
pub(super) fn change(
    image: &str,
    component: ImageComponent,
    operator: Operator,
    value: &str,
) -> Result<String, String> {
    let mut parts = split(image);
    let part = match component {
        ImageComponent::Registry => &mut parts.registry,
        ImageComponent::Repository => &mut parts.repository,
        ImageComponent::Tag => &mut parts.tag,
    };
    *part = match (operator, component) {
        (Operator::Remove, _) => String::new(),
        (Operator::Replace, ImageComponent::Tag) => tag(value),
        (Operator::Add, ImageComponent::Tag) if part.is_empty() => tag(value),
        (Operator::Replace, _) => value.trim_end_matches('/').to_owned(),
        (Operator::Add, _) => format!("{part}{value}"),
    };
    if parts.repository.is_empty() {
        return Err(format!("would leave no repository of {image:?}"));
    }
    Ok(join(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_split() {
        let parts = |image: &str| {
            let Image { registry, repository, tag } = split(image);
            (registry, repository, tag)
        };
        let of = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(parts("nginx"), of("", "nginx", ""));
        assert_eq!(parts("vllm/vllm-openai:v0.9"), of("", "vllm/vllm-openai", ":v0.9"));
        assert_eq!(parts("localhost:5000/a/b:c"), of("localhost:5000", "a/b", ":c"));
        assert_eq!(parts("ghcr.io/a@sha256:00"), of("ghcr.io", "a", "@sha256:00"));
        assert_eq!(parts("ghcr.io/a:v1@sha256:00"), of("ghcr.io", "a", ":v1@sha256:00"));
    }

    #[test]
    fn parts_change_by_themselves() {
        use ImageComponent::{Registry, Repository, Tag};
        use Operator::{Add, Remove, Replace};
        let cases = [
            ("ghcr.io/a/b:1", Registry, Replace, "r.example:5000", "r.example:5000/a/b:1"),
            ("a/b:1", Registry, Add, "r.example", "r.example/a/b:1"),
            ("ghcr.io/a:1", Registry, Remove, "", "a:1"),
            ("ghcr.io/a:1", Registry, Add, ".cn", "ghcr.io.cn/a:1"),
            ("ghcr.io/a:1", Repository, Replace, "c/d", "ghcr.io/c/d:1"),
            ("ghcr.io/a:1", Repository, Add, "-gpu", "ghcr.io/a-gpu:1"),
            ("a:1", Tag, Replace, "2", "a:2"),
            ("a:1", Tag, Replace, "sha256:ab", "a@sha256:ab"),
            ("a:1", Tag, Add, "-rc", "a:1-rc"),
            ("a", Tag, Add, "2", "a:2"),
            ("a:1", Tag, Remove, "", "a"),
        ];
        for (image, component, operator, value, expected) in cases {
            assert_eq!(
                change(image, component, operator, value).as_deref(),
                Ok(expected),
                "{image} {component:?} {operator:?}"
            );
        }
        assert!(change("a:1", Repository, Remove, "").is_err());
    }
}
