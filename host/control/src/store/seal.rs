//! How keys and values stand in the file: length-prefixed fields, and values under a checksum of key and value.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::ports::{HistoryEntry, ObjectKey, Revision, Stored};
use berth_core::ids::Millis;

const SUM: usize = 8;

/// The first bytes of a SHA-256: errors of disks and hands go undetected once in 2^64.
fn sum(key: &[u8], value: &[u8]) -> [u8; SUM] {
    let mut hash = Sha256::new();
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(value);
    let mut sum = [0; SUM];
    sum.copy_from_slice(&hash.finalize()[..SUM]);
    sum
}

pub(super) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SUM + value.len());
    sealed.extend_from_slice(&sum(key, value));
    sealed.extend_from_slice(value);
    sealed
}

/// The value, or `None` if it is not what was written under this key.
pub(super) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (found, value) = sealed.split_at_checked(SUM)?;
    (found == sum(key, value)).then_some(value)
}

fn put(out: &mut Vec<u8>, field: &[u8]) {
    out.extend_from_slice(&(field.len() as u32).to_be_bytes());
    out.extend_from_slice(field);
}

fn get<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (field, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    *bytes = rest;
    Some(field)
}

fn get_number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*number))
}

fn get_str(bytes: &mut &[u8]) -> Option<Arc<str>> {
    std::str::from_utf8(get(bytes)?).ok().map(Arc::from)
}

pub(super) fn key_bytes(key: &ObjectKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(12 + key.kind.len() + key.namespace.len() + key.name.len());
    for field in [&key.kind, &key.namespace, &key.name] {
        put(&mut bytes, field.as_bytes());
    }
    bytes
}

pub(super) fn read_key(mut bytes: &[u8]) -> Option<ObjectKey> {
    let key = ObjectKey { kind: get_str(&mut bytes)?, namespace: get_str(&mut bytes)?, name: get_str(&mut bytes)? };
    bytes.is_empty().then_some(key)
}

/// An object's entry: revision, then its value; nothing after the revision's marker byte where it was deleted.
pub(super) fn object_bytes(revision: Revision, value: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = revision.0.to_be_bytes().to_vec();
    bytes.push(u8::from(value.is_some()));
    bytes.extend_from_slice(value.unwrap_or_default());
    bytes
}

pub(super) fn read_object(key: ObjectKey, mut bytes: &[u8]) -> Option<Stored> {
    let revision = Revision(get_number(&mut bytes)?);
    let (present, value) = bytes.split_first()?;
    let value = match present {
        0 => None,
        _ => Some(Arc::from(value)),
    };
    Some(Stored { key, revision, value })
}

pub(super) fn history_bytes(entry: &HistoryEntry) -> Vec<u8> {
    let mut bytes = entry.at.0.to_be_bytes().to_vec();
    put(&mut bytes, &entry.about.as_ref().map(key_bytes).unwrap_or_default());
    bytes.extend_from_slice(&entry.value);
    bytes
}

pub(super) fn read_history(mut bytes: &[u8]) -> Option<HistoryEntry> {
    let at = Millis(get_number(&mut bytes)?);
    let about = match get(&mut bytes)? {
        [] => None,
        key => Some(read_key(key)?),
    };
    Some(HistoryEntry { at, about, value: bytes.into() })
}
