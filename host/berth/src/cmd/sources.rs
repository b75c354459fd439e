//! Manifests from files, folders and stdin.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::fail::hinted;
use crate::wire::{Source, Sources};

/// A file larger than this is no manifest.
const LARGEST_FILE: u64 = 8 << 20;

/// Reads what `-f` names: a file, all `.yaml`, `.yml` and `.json` files of a folder in the order of their names, or `-`
/// for stdin.
pub(crate) fn read(names: &[PathBuf]) -> anyhow::Result<Sources> {
    let mut sources = Vec::new();
    for name in names {
        if name.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().lock().take(LARGEST_FILE).read_to_string(&mut text).context("stdin cannot be read")?;
            sources.push(Source { name: "stdin".to_owned(), text });
        } else if name.is_dir() {
            let files = manifests_in(name).with_context(|| format!("the folder {} cannot be read", name.display()))?;
            if files.is_empty() {
                let hint = "files end in .yaml, .yml or .json";
                return Err(hinted(format!("{} holds no manifest", name.display()), hint).into());
            }
            for file in files {
                sources.push(read_file(&file)?);
            }
        } else {
            sources.push(read_file(name)?);
        }
    }
    Ok(Sources { sources })
}

fn manifests_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let known = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if known && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(file: &Path) -> anyhow::Result<Source> {
    let context = || hinted(format!("{} cannot be read", file.display()), "");
    let size = fs::metadata(file).with_context(context)?.len();
    if size > LARGEST_FILE {
        let hint = format!("split it into files of at most {} MiB", LARGEST_FILE >> 20);
        return Err(hinted(format!("{} has {size} bytes", file.display()), hint).into());
    }
    let text = fs::read_to_string(file).with_context(context)?;
    Ok(Source { name: file.display().to_string(), text })
}
