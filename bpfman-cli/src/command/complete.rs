//! Live words for the completions of shells: objects of the daemon, interfaces and functions of the kernel.

use std::time::Duration;

use bpfman_client::Services;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfmand_object::KernelBtf;

use super::{connect, list};
use crate::args::Global;
use crate::args::completed_value::{CompletedValue, completed_value};
use crate::error::CliError;
use crate::show;

/// Time after which a shell completes without the daemon.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_WORDS: usize = 200;
const INTERFACES: &str = "/sys/class/net";
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Prints the candidates that begin with the last word of the line. Prints nothing after a failure, or where
/// the shell's own completion applies.
pub async fn run(global: &Global, line: &str) -> Result<(), CliError> {
    let Some((of, begun)) = completed_value(line) else { return Ok(()) };
    let words = tokio::time::timeout(DAEMON_TIMEOUT, words(global, of, &begun)).await;
    let mut words = words.ok().and_then(Result::ok).unwrap_or_default();
    words.retain(|word| word.starts_with(&begun) && is_plain(word));
    words.sort_unstable();
    words.dedup();
    words.truncate(MAX_WORDS);
    show::write(&words.iter().map(|word| format!("{word}\n")).collect::<String>())
}

/// Returns whether a shell gives the word no special meaning: owners choose names freely.
fn is_plain(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:/@,".contains(c)) && !word.starts_with('-')
}

async fn words(global: &Global, of: CompletedValue, begun: &str) -> Result<Vec<String>, CliError> {
    Ok(match of {
        CompletedValue::Interfaces => interfaces(),
        CompletedValue::Functions => functions(begun),
        CompletedValue::Hooks => {
            // Hooks of interfaces are completed even without a daemon.
            let chains = hooks(global).await.unwrap_or_default();
            let of_interface = |name: String| {
                ["xdp:IFACE", "tc:IFACE:ingress", "tc:IFACE:egress", "tcx:IFACE:ingress", "tcx:IFACE:egress"]
                    .map(|form| form.replace("IFACE", &name))
            };
            chains.into_iter().chain(interfaces().into_iter().flat_map(of_interface)).collect()
        }
        CompletedValue::Programs => {
            let programs = programs(&mut connect(global).await?).await?;
            programs.into_iter().flat_map(|(id, name)| [id.to_string(), name]).collect()
        }
        CompletedValue::Links => {
            let answer = connect(global).await?.ext.list_links(ext::ListLinksRequest::default()).await?;
            answer.into_inner().links.iter().map(|link| link.id.to_string()).collect()
        }
        CompletedValue::Maps => {
            let answer =
                connect(global).await?.map_entries.list_maps(ext::ListMapsRequest::default()).await?;
            answer
                .into_inner()
                .maps
                .iter()
                .map(|one| one.map.as_ref().map_or(0, |map| map.id).to_string())
                .collect()
        }
        CompletedValue::Sessions => {
            let answer =
                connect(global).await?.sessions.list(ext::ListSessionsRequest {}).await?.into_inner();
            answer.sessions.into_iter().map(|session| session.name).collect()
        }
        CompletedValue::Applications => {
            let all = list::applications_of(&mut connect(global).await?).await?;
            all.applications.into_iter().map(|application| application.name).collect()
        }
    })
}

async fn hooks(global: &Global) -> Result<Vec<String>, CliError> {
    let answer = connect(global).await?.chains.list_hooks(ext::ListHooksRequest {}).await?.into_inner();
    Ok(answer.hooks.into_iter().map(|hook| hook.hook).collect())
}

async fn programs(client: &mut Services) -> Result<Vec<(u32, String)>, CliError> {
    let select = v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() };
    let request = ext::ListProgramsRequest { select: Some(select), program_type: String::new() };
    let programs = client.ext.list_programs(request).await?.into_inner().programs;
    let of = |program: ext::Program| Some((program.kernel_info?.id, program.info?.name));
    Ok(programs.into_iter().filter_map(of).collect())
}

fn interfaces() -> Vec<String> {
    let entries = std::fs::read_dir(INTERFACES).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn functions(begun: &str) -> Vec<String> {
    let kernel = std::fs::read(KERNEL_TYPES).ok().and_then(|types| KernelBtf::parse(types).ok());
    let Some(kernel) = kernel else { return Vec::new() };
    // Several functions of a list are separated by commas.
    let (before, name) = begun.rsplit_once(',').map_or(("", begun), |(before, name)| (before, name));
    let front = if before.is_empty() { String::new() } else { format!("{before},") };
    let names = kernel.function_names().filter(|function| function.starts_with(name));
    names.map(|function| format!("{front}{function}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_gets_no_word_with_a_meaning_of_its_own() {
        for (word, is) in [
            ("xdp:eth0@/run/netns/blue", true),
            ("vfs_read,vfs_write", true),
            ("$(reboot)", false),
            ("a b", false),
            ("-rf", false),
            ("`id`", false),
            ("a\nb", false),
        ] {
            assert_eq!(is_plain(word), is, "{word}");
        }
    }
}
