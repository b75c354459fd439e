//! Amounts of resources.
//!
//! Resource names are interned once in a [`ResourceNames`]; from then on amounts stand in vectors by row. Amounts are
//! whole numbers in the base unit of the resource: thousandths of a core for `cpu`, bytes for `memory`, `storage` and
//! `ephemeral-storage`, pieces for everything else.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub const CPU: &str = "cpu";
pub const MEMORY: &str = "memory";
pub const PODS: &str = "pods";
pub const GPU: &str = "nvidia.com/gpu";
/// A share of one GPU, in thousandths. A replica asks for whole GPUs or for one share, never both.
pub const GPU_SHARE: &str = "berth.dev/gpu-milli";

/// Amounts by resource name: the form in manifests and in the store. [`Amounts`] is the form to compute with.
pub type NamedAmounts = BTreeMap<Arc<str>, u64>;

/// Resource names in the order of their rows. Rows are appended and never reused; the first four are always `cpu`,
/// `memory`, `pods` and `nvidia.com/gpu`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceNames {
    names: Vec<Arc<str>>,
}

pub const CPU_ROW: usize = 0;
pub const MEMORY_ROW: usize = 1;
pub const PODS_ROW: usize = 2;
pub const GPU_ROW: usize = 3;

impl Default for ResourceNames {
    fn default() -> Self {
        Self { names: [CPU, MEMORY, PODS, GPU].map(Arc::from).to_vec() }
    }
}

impl ResourceNames {
    pub fn row(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| &**known == name)
    }

    /// The row of `name`, appended if it is new. There are few resources, so a scan is the fastest look-up.
    pub fn intern(&mut self, name: &str) -> usize {
        self.row(name).unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        })
    }

    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Converts named amounts, interning what is new. Shares of a GPU are no amount of their own: see [`Amounts`].
    pub fn amounts(&mut self, named: &NamedAmounts) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, amount) in named {
            let row = self.intern(name);
            amounts.set(row, *amount);
        }
        amounts
    }
}

/// Amounts by resource row; rows past the end are zero.
#[derive(Clone, Debug, Default, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amounts(Vec<u64>);

impl PartialEq for Amounts {
    fn eq(&self, other: &Self) -> bool {
        (0..self.0.len().max(other.0.len())).all(|row| self.get(row) == other.get(row))
    }
}

impl Amounts {
    pub fn get(&self, row: usize) -> u64 {
        self.0.get(row).copied().unwrap_or(0)
    }

    pub fn set(&mut self, row: usize, amount: u64) {
        if row >= self.0.len() {
            self.0.resize(row + 1, 0);
        }
        self.0[row] = amount;
    }

    /// Rows with an amount above zero.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.0.iter().copied().enumerate().filter(|(_, amount)| *amount > 0)
    }

    pub fn as_slice(&self) -> &[u64] {
        &self.0
    }

    /// How often `request` fits into these amounts, up to `limit`.
    pub fn fits(&self, request: &Amounts, limit: u64) -> u64 {
        request.iter().map(|(row, amount)| self.get(row) / amount).min().unwrap_or(limit).min(limit)
    }

    /// Adds `request` times `count`; an amount that would overflow stays at the largest.
    pub fn add(&mut self, request: &Amounts, count: u64) {
        for (row, amount) in request.iter() {
            self.set(row, self.get(row).saturating_add(amount.saturating_mul(count)));
        }
    }

    /// Takes `request` times `count` away, or changes nothing and says false if there is not enough.
    #[must_use]
    pub fn take(&mut self, request: &Amounts, count: u64) -> bool {
        if self.fits(request, count) < count {
            return false;
        }
        for (row, amount) in request.iter() {
            self.0[row] -= amount * count;
        }
        true
    }

    pub fn named(&self, names: &ResourceNames) -> NamedAmounts {
        self.iter().filter_map(|(row, amount)| Some((names.names().get(row)?.clone(), amount))).collect()
    }
}
