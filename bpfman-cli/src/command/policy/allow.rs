//! `bpfman policy allow`: adds an entry to the policy, after root has confirmed its lines.

use std::fs::{self, File, Permissions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use bpfman_model::Hint;
use tempfile::NamedTempFile;

use super::addition::{ImageSigner, PolicyAddition};
use crate::args::Global;
use crate::args::policy::AllowPolicy;
use crate::error::CliError;
use crate::show;
use crate::show::policy::AddedPolicyLines;

const MODE: u32 = 0o644;

/// Shows the lines, asks for confirmation, and writes them. An error leaves the policy unchanged.
pub fn run(global: &Global, allow: &AllowPolicy) -> Result<(), CliError> {
    // The file itself, not a link to it, is replaced.
    let file = fs::canonicalize(&allow.policy).unwrap_or_else(|_| allow.policy.clone());
    let old = read_if_there(&file)?;
    if old.is_some() {
        ensure_valid(&file)?;
    }
    let text = old.as_deref().unwrap_or_default();
    let added = addition(allow, text)?.ok_or_else(|| CliError::Invalid {
        what: format!(
            "{} has an entry for the same images in front, or keeps entries in a form to which no lines can be added",
            file.display()
        ),
        hint: Some("change the file by hand: each entry is a table of its own, [[images]] or [[grants]]".into()),
    })?;
    let _made = if allow.dry_run { None } else { MadeFolder::of(folder_of(&file))? };
    let draft = write_draft(allow, &file, &added.text)?;
    ensure_accepted(draft.path(), &file)?;

    let mut shown = AddedPolicyLines {
        file: file.display().to_string(),
        before: added.before,
        lines: added.lines,
        written: false,
        is_shown: false,
    };
    if !allow.dry_run {
        if !allow.yes {
            confirm(&shown)?;
            shown.is_shown = true;
        }
        // The lock makes a second run at the same time see the lines of the first.
        let _lock = lock_folder(&file)?;
        if read_if_there(&file)? != old {
            return Err(CliError::Invalid {
                what: format!("{} has changed meanwhile: nothing is written", file.display()),
                hint: Some("run the command again".into()),
            });
        }
        replace(draft, &file)?;
        shown.written = true;
    }
    show::answer(global, &shown)
}

fn addition(allow: &AllowPolicy, text: &str) -> Result<Option<PolicyAddition>, CliError> {
    let has_signer = allow.unsigned || !allow.key.is_empty() || !allow.identity.is_empty();
    let has_limits = allow.grant.lists().next().is_some() || allow.grant.words().next().is_some();
    // User names have no slash, and repositories have one.
    let is_images = allow.subject.contains('/') || allow.subject == "*";
    let usage = |what: String| Err(CliError::Usage(what));
    match (is_images, has_signer) {
        (true, _) if has_limits || !allow.verbs.is_empty() => {
            usage(format!("\"{}\" names images: verbs and limits are for users", allow.subject))
        }
        (true, false) => usage(format!(
            "give the signature that images of \"{}\" need: --key FILE, --identity ISSUER SUBJECT, or --unsigned",
            allow.subject
        )),
        (true, true) if repository(&allow.subject) != allow.subject => usage(format!(
            "patterns have neither tag nor digest: give \"{}\", which is all versions",
            repository(&allow.subject)
        )),
        (true, true) => Ok(PolicyAddition::of_images(text, &allow.subject, &signer(allow)?)),
        (false, true) => usage(format!(
            "\"{0}\" names a user, and signatures are for images: \"{0}/*\" names all images of a registry",
            allow.subject
        )),
        (false, false) if allow.verbs.is_empty() => {
            usage(format!("give the verbs that user {} may use, such as load,attach", allow.subject))
        }
        (false, false) => Ok(PolicyAddition::of_grant(text, &allow.subject, &allow.verbs, &allow.grant)),
    }
}

fn signer(allow: &AllowPolicy) -> Result<ImageSigner, CliError> {
    if allow.unsigned {
        return Ok(ImageSigner::None);
    }
    if let [issuer, subject] = allow.identity.as_slice() {
        return Ok(ImageSigner::Identity { issuer: issuer.clone(), subject: subject.clone() });
    }
    // Make paths absolute: the daemon has another working folder.
    let absolute =
        |key: &PathBuf| fs::canonicalize(key).map_err(|source| CliError::File { path: key.clone(), source });
    allow.key.iter().map(absolute).collect::<Result<_, _>>().map(ImageSigner::Keys)
}

fn repository(subject: &str) -> &str {
    let name = subject.split_once('@').map_or(subject, |(name, _)| name);
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    name[last..].find(':').map_or(name, |colon| &name[..last + colon])
}

fn read_if_there(file: &Path) -> Result<Option<String>, CliError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CliError::File { path: file.to_owned(), source }),
    }
}

fn ensure_valid(file: &Path) -> Result<(), CliError> {
    let mistakes = super::read("check", Some(file))?.mistakes.len();
    if mistakes == 0 {
        return Ok(());
    }
    Err(CliError::Invalid {
        what: format!("{} has mistakes ({mistakes}): nothing is written", file.display()),
        hint: Some(Hint::CheckPolicy(Some(file.to_owned()))),
    })
}

/// Folder created for the first policy; removed on drop if it is still empty.
struct MadeFolder(PathBuf);

impl MadeFolder {
    fn of(folder: &Path) -> Result<Option<Self>, CliError> {
        match fs::create_dir(folder) {
            Ok(()) => Ok(Some(Self(folder.to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(source) => Err(CliError::File { path: folder.to_owned(), source }),
        }
    }
}

impl Drop for MadeFolder {
    fn drop(&mut self) {
        // Fails if the folder has a policy by now.
        let _is_in_use = fs::remove_dir(&self.0);
    }
}

/// Writes the new text to a draft beside the policy; for a dry run, in the folder for temporary files.
fn write_draft(allow: &AllowPolicy, file: &Path, text: &str) -> Result<NamedTempFile, CliError> {
    let folder = if allow.dry_run { std::env::temp_dir() } else { folder_of(file).to_owned() };
    let failed = |source| CliError::File { path: folder.clone(), source };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".policy-").suffix(".toml");
    let mut draft = builder.tempfile_in(&folder).map_err(failed)?;
    // Use the mode of the policy, whatever the umask.
    let old = fs::metadata(file).ok();
    let mode = old.as_ref().map_or(MODE, |old| old.permissions().mode() & 0o777);
    draft.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    if let Some(old) = old.filter(|_| !allow.dry_run) {
        fchown(draft.as_file(), Some(old.uid()), Some(old.gid())).map_err(failed)?;
    }
    draft.write_all(text.as_bytes()).and_then(|()| draft.as_file().sync_all()).map_err(failed)?;
    Ok(draft)
}

fn ensure_accepted(draft: &Path, file: &Path) -> Result<(), CliError> {
    let checked = super::read("check", Some(draft))?;
    let draft = draft.display().to_string();
    let mistakes = checked.mistakes.into_iter().map(|mistake| mistake.reason);
    // Ignore notes about the draft's own owner and mode, which the written policy does not have.
    let notes = checked.notes.into_iter().filter(|note| !note.contains(&draft));
    let reasons: Vec<String> = mistakes.chain(notes).collect();
    if reasons.is_empty() {
        return Ok(());
    }
    Err(CliError::Invalid {
        what: format!("{} would not be read with these lines: {}", file.display(), reasons.join("; ")),
        hint: None,
    })
}

fn confirm(shown: &AddedPolicyLines) -> Result<(), CliError> {
    let mut terminal = io::stderr();
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(
            "no terminal answers: give --yes, or --dry-run to see the lines".to_owned(),
        ));
    }
    let mut answer = String::new();
    write!(terminal, "{}\nWrite them? [y/N] ", shown.proposal())
        .and_then(|()| terminal.flush())
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(CliError::Output)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::Invalid { what: "nothing is written".to_owned(), hint: None }),
    }
}

/// Locks the folder of the policy against other runs of this command, until the result is dropped.
fn lock_folder(file: &Path) -> Result<File, CliError> {
    let folder = folder_of(file);
    let lock = File::open(folder).and_then(|lock| lock.lock().map(|()| lock));
    lock.map_err(|source| CliError::File { path: folder.to_owned(), source })
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn replace(draft: NamedTempFile, file: &Path) -> Result<(), CliError> {
    let failed = |source| CliError::File { path: file.to_owned(), source };
    draft.persist(file).map_err(|error| failed(error.error))?;
    File::open(folder_of(file)).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_of_an_image_has_neither_tag_nor_digest() {
        for (subject, pattern) in [
            ("quay.io/a/b:v1", "quay.io/a/b"),
            ("localhost:5000/a/b", "localhost:5000/a/b"),
            ("localhost:5000/a/b:v1@sha256:00", "localhost:5000/a/b"),
            ("quay.io/a/*", "quay.io/a/*"),
            ("*", "*"),
        ] {
            assert_eq!(repository(subject), pattern);
        }
    }
}
