//! The quota tree: guaranteed minima that are lent while idle, and ceilings that are never exceeded.
//!
//! Modelled on ElasticQuotaTree of `scheduling.sigs.k8s.io/v1beta1`: leaves own namespaces, the root's `max` equals its
//! `min`, and a leaf may borrow what its siblings leave idle, up to its `max`.

use std::sync::Arc;

use crate::ids::{QuotaName, QuotaRow};
use crate::resources::Amounts;

/// A ceiling without an entry is no limit.
pub const NO_LIMIT: u64 = u64::MAX;

#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    pub name: QuotaName,
    /// `None` at the root. Parents stand before their children.
    pub parent: Option<QuotaRow>,
    /// Guaranteed; resources that are not named have no guarantee.
    pub min: Amounts,
    /// Ceiling by resource row as (row, amount), ascending; resources that are not named have none.
    pub max: Vec<(usize, u64)>,
    /// Namespaces that a leaf owns.
    pub namespaces: Vec<Arc<str>>,
}

/// The tree as rows, root first, with what each uses (children included). Empty where no quota applies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuotaTree {
    pub quotas: Arc<[Quota]>,
    pub used: Vec<Amounts>,
}

impl QuotaTree {
    /// The leaf that owns `namespace`.
    pub fn leaf(&self, namespace: &str) -> Option<QuotaRow> {
        let row = self.quotas.iter().position(|quota| quota.namespaces.iter().any(|owned| &**owned == namespace))?;
        Some(QuotaRow(row as u32))
    }

    /// `row` and its ancestors, upwards.
    pub fn path(&self, row: QuotaRow) -> impl Iterator<Item = QuotaRow> + '_ {
        std::iter::successors(Some(row), |row| self.quotas[row.index()].parent)
    }

    /// How often `request` could still be charged to `row` without exceeding a ceiling on its path, up to `limit`.
    pub fn headroom(&self, row: QuotaRow, request: &Amounts, limit: u64) -> u64 {
        self.path(row)
            .flat_map(|row| {
                let used = &self.used[row.index()];
                self.quotas[row.index()]
                    .max
                    .iter()
                    .filter(|(resource, _)| request.get(*resource) > 0)
                    .map(move |(resource, max)| max.saturating_sub(used.get(*resource)) / request.get(*resource))
            })
            .min()
            .unwrap_or(limit)
            .min(limit)
    }

    /// Adds `request` times `count` to what `row` and its ancestors use.
    pub fn charge(&mut self, row: QuotaRow, request: &Amounts, count: u64) {
        let path: Vec<QuotaRow> = self.path(row).collect();
        for row in path {
            self.used[row.index()].add(request, count);
        }
    }

    /// Takes `request` times `count` off again; never below zero.
    pub fn refund(&mut self, row: QuotaRow, request: &Amounts, count: u64) {
        let path: Vec<QuotaRow> = self.path(row).collect();
        for row in path {
            let used = &mut self.used[row.index()];
            for (resource, amount) in request.iter() {
                used.set(resource, used.get(resource).saturating_sub(amount.saturating_mul(count)));
            }
        }
    }
}
