//! The fleet's tables as a session keeps them: rows as the host numbers them, labels by cluster.

use std::collections::BTreeMap;

use crate::bindings::{Changes, Tables};

/// All clusters by row, with what is known of them. The SDK keeps it up to date; a policy only reads it.
///
/// A row keeps its meaning while the session lives. Rows of clusters that left the fleet stay and are no candidates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    clusters: Vec<Cluster>,
    resources: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Cluster {
    name: String,
    provider: String,
    region: String,
    labels: BTreeMap<String, String>,
}

impl Fleet {
    pub(crate) fn new(tables: Tables) -> Self {
        let Tables { names, providers, regions, labels, resources } = tables;
        let mut clusters: Vec<Cluster> = names
            .into_iter()
            .zip(providers.into_iter().zip(regions))
            .map(|(name, (provider, region))| Cluster { name, provider, region, labels: BTreeMap::new() })
            .collect();
        for label in labels {
            if let Some(cluster) = clusters.get_mut(label.cluster as usize) {
                cluster.labels.insert(label.key, label.value);
            }
        }
        Self { clusters, resources }
    }

    pub(crate) fn apply(&mut self, changes: Changes) {
        for row in changes.clusters {
            let index = row.row as usize;
            if index >= self.clusters.len() {
                self.clusters.resize_with(index + 1, Cluster::default);
            }
            self.clusters[index] = Cluster {
                name: row.name,
                provider: row.provider,
                region: row.region,
                labels: row.labels.into_iter().collect(),
            };
        }
        self.resources.extend(changes.resources);
    }

    /// Number of cluster rows.
    pub fn len(&self) -> usize {
        self.clusters.len()
    }

    /// Whether there is no cluster.
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    /// Name of the cluster at `row`; empty for a row that does not exist, as for the next two.
    pub fn name(&self, row: u32) -> &str {
        self.clusters.get(row as usize).map_or("", |cluster| &cluster.name)
    }

    /// Provider of the cluster at `row`; empty where unknown.
    pub fn provider(&self, row: u32) -> &str {
        self.clusters.get(row as usize).map_or("", |cluster| &cluster.provider)
    }

    /// Region of the cluster at `row`; empty where unknown.
    pub fn region(&self, row: u32) -> &str {
        self.clusters.get(row as usize).map_or("", |cluster| &cluster.region)
    }

    /// A label of the cluster at `row`.
    pub fn label(&self, row: u32, key: &str) -> Option<&str> {
        self.clusters.get(row as usize)?.labels.get(key).map(String::as_str)
    }

    /// All labels of the cluster at `row`, in ascending order of key.
    pub fn labels(&self, row: u32) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.clusters.get(row as usize).into_iter().flat_map(|cluster| &cluster.labels);
        labels.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Names of the resources that columns of amounts refer to by row.
    pub fn resources(&self) -> &[String] {
        &self.resources
    }

    /// Row of a resource, such as `nvidia.com/gpu`.
    pub fn resource(&self, name: &str) -> Option<usize> {
        self.resources.iter().position(|resource| resource == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::{ClusterRow, Label};

    fn label(cluster: u32, key: &str, value: &str) -> Label {
        Label { cluster, key: key.into(), value: value.into() }
    }

    #[test]
    fn updates_replace_and_append_rows() {
        let mut fleet = Fleet::new(Tables {
            names: vec!["a".into(), "b".into()],
            providers: vec![String::new(), "aws".into()],
            regions: vec!["eu".into(), "us".into()],
            labels: vec![label(1, "power", "coal"), label(1, "tier", "gold")],
            resources: vec!["cpu".into()],
        });
        assert_eq!((fleet.name(1), fleet.provider(1), fleet.region(0)), ("b", "aws", "eu"));
        assert_eq!(fleet.label(1, "power"), Some("coal"));

        let row = |row, power: &str| ClusterRow {
            row,
            name: format!("c{row}"),
            provider: String::new(),
            region: String::new(),
            labels: vec![("power".into(), power.into())],
        };
        fleet.apply(Changes { clusters: vec![row(1, "wind"), row(2, "sun")], resources: vec!["memory".into()] });
        assert_eq!((fleet.len(), fleet.name(0), fleet.name(2)), (3, "a", "c2"));
        assert_eq!((fleet.label(1, "power"), fleet.label(1, "tier")), (Some("wind"), None));
        assert_eq!(fleet.resource("memory"), Some(1));
        assert_eq!(fleet.name(9), "");
    }
}
