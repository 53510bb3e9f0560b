//! A regular file that is replaced as a whole, so that readers see either the old contents or the
//! new ones.
//!
//! All descriptors are opened before the program starts its work: at the end the limit of open
//! files, the permissions or the directory may have changed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::cli::output::{Patience, write_all};

/// A file to be replaced; see [`AtomicFile::open`].
#[derive(Debug)]
pub(crate) struct AtomicFile {
    path: PathBuf,
    /// `None` where the directory takes no new file.
    new: Option<NewFile>,
    /// The file that is there now, for the case that it cannot be replaced: its directory is
    /// read-only, or it is a mount point of its own, as single files of a container are.
    old: Option<File>,
}

impl AtomicFile {
    /// Checks that the file can be written, and changes nothing. Links are not followed.
    ///
    /// # Errors
    ///
    /// If neither the directory takes a new file nor the old file can be written.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        match (NewFile::create(&path), OpenOptions::new().write(true).open(&path)) {
            (Ok(new), old) => Ok(Self { path, new: Some(new), old: old.ok() }),
            (Err(_), Ok(old)) => Ok(Self { path, new: None, old: Some(old) }),
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// Puts the contents there: by a rename, or in place where a rename is refused.
    ///
    /// # Errors
    ///
    /// If the file system refuses. Unless the file is written in place, it still has its old
    /// contents then.
    pub(crate) fn write(mut self, contents: &[u8]) -> io::Result<()> {
        let replaced = match &mut self.new {
            None => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Some(new) => {
                write_all(&new.file, contents, Patience::Unlimited)?;
                new.rename_to(&self.path)
            }
        };
        match (replaced, self.old) {
            (Err(_), Some(mut old)) => {
                old.set_len(0)?;
                old.rewind()?;
                write_all(old, contents, Patience::Unlimited)
            }
            (replaced, _) => replaced,
        }
    }
}

/// A file in the same directory, so that the last step is a rename within one file system.
#[derive(Debug)]
struct NewFile {
    file: File,
    name: PathBuf,
    /// Whether the file has its name already. On Linux it gets it when it is complete, and so
    /// leaves nothing behind if the process is killed before.
    is_named: bool,
}

impl NewFile {
    fn create(path: &Path) -> io::Result<Self> {
        let name = hidden(path)?;
        let unnamed = path.parent().and_then(create_unnamed);
        let is_named = unnamed.is_none();
        let file = unnamed.map_or_else(|| create_named(&name), Ok)?;
        let new = Self { file, name, is_named };
        if let Ok(old) = fs::symlink_metadata(path)
            && old.is_file()
            && let Err(error) = new.file.set_permissions(old.permissions())
        {
            log::debug!("keep the permissions of {path:?}: {error}");
        }
        Ok(new)
    }

    fn rename_to(&mut self, path: &Path) -> io::Result<()> {
        if !self.is_named {
            name_file(&self.file, &self.name)?;
            self.is_named = true;
        }
        fs::rename(&self.name, path)?;
        self.is_named = false;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.is_named && fs::remove_file(&self.name).is_err() {
            log::debug!("left behind: {:?}", self.name);
        }
    }
}

fn hidden(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(hidden))
}

/// Follows no link, which another user may have made. A file that an earlier process with the same
/// id left behind is removed.
fn create_named(name: &Path) -> io::Result<File> {
    remove_if_occupied(name, || OpenOptions::new().write(true).create_new(true).open(name))
}

fn remove_if_occupied<T>(name: &Path, create: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(name)?;
            create()
        }
        created => created,
    }
}

/// Only where the file can be given a name later, which takes /proc.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn create_unnamed(directory: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags, open};
    let here = Path::new(".");
    let directory = if directory.as_os_str().is_empty() { here } else { directory };
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH;
    let file = File::from(open(directory, flags, mode).ok()?);
    fs::exists(link_of(&file)).unwrap_or(false).then_some(file)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn name_file(file: &File, name: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    let link = || Ok(linkat(CWD, link_of(file), CWD, name, AtFlags::SYMLINK_FOLLOW)?);
    remove_if_occupied(name, link)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn link_of(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn create_unnamed(_: &Path) -> Option<File> {
    None
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn name_file(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("netgrace-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        path
    }

    fn names(directory: &Path) -> Vec<OsString> {
        let listing = fs::read_dir(directory).expect("readable");
        let mut names: Vec<_> = listing.map(|entry| entry.expect("entry").file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn opening_changes_nothing_and_writing_leaves_one_file() {
        let directory = directory("atomic");
        let path = directory.join("report");
        fs::write(&path, "before").expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
        let file = AtomicFile::open(&path).expect("opened");
        assert_eq!(fs::read(&path).expect("there"), b"before");
        file.write(b"after").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"after");
        assert_eq!(names(&directory), ["report"]);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        drop(AtomicFile::open(&directory.join("never")).expect("opened"));
        assert_eq!(names(&directory), ["report"]);
        fs::remove_dir_all(&directory).expect("removed");
    }

    /// As where the file system cannot make files without a name.
    #[test]
    fn a_named_file_is_renamed_or_removed() {
        let directory = directory("named");
        let (path, name) = (directory.join("report"), directory.join(".report.tmp"));
        fs::write(&name, "of a killed process").expect("writable");
        let create = || {
            let file = create_named(&name).expect("created");
            NewFile { file, name: name.clone(), is_named: true }
        };
        let file = AtomicFile { path: path.clone(), new: Some(create()), old: None };
        file.write(b"after").expect("written");
        assert_eq!(names(&directory), ["report"]);
        drop(create());
        assert_eq!(names(&directory), ["report"]);
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place() {
        let directory = directory("in-place");
        let path = directory.join("report");
        fs::write(&path, "a long text from before").expect("writable");
        let file = AtomicFile { new: None, ..AtomicFile::open(&path).expect("opened") };
        file.write(b"after").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"after");
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_full_disk_leaves_the_old_contents() {
        let directory = directory("full");
        let path = directory.join("report");
        fs::write(&path, "before").expect("writable");
        let mut file = AtomicFile::open(&path).expect("opened");
        let full = OpenOptions::new().write(true).open("/dev/full").expect("there");
        file.new.as_mut().expect("a new file").file = full;
        assert!(file.write(b"after").is_err());
        assert_eq!(fs::read(&path).expect("there"), b"before");
        assert_eq!(names(&directory), ["report"]);
        fs::remove_dir_all(&directory).expect("removed");
    }
}
