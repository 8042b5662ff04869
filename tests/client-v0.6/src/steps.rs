//! Steps of the test, with the expected responses.

use std::collections::HashMap;
use std::fmt::Debug;

use anyhow::{Context as _, bail, ensure};
use bpfman_api::v1::*;
use tonic::Status;

use crate::calls::Calls;

const PROGRAM: &str = "xdp_counter";
/// `BPF_PROG_TYPE_XDP`, which v0.6.0 returns and filters by.
const KERNEL_TYPE_XDP: u32 = 6;

fn of_file(object: &str) -> LoadRequest {
    LoadRequest {
        bytecode: Some(BytecodeLocation {
            location: Some(bytecode_location::Location::File(object.to_owned())),
        }),
        metadata: HashMap::from([("owner".to_owned(), "client-v0.6".to_owned())]),
        uuid: Some(String::new()), // as the operator sends it
        info: vec![LoadInfo {
            name: PROGRAM.to_owned(),
            program_type: BpfmanProgramType::Xdp.into(),
            info: None,
        }],
        ..Default::default()
    }
}

fn xdp(interface: &str, priority: i32) -> attach_info::Info {
    attach_info::Info::XdpAttachInfo(XdpAttachInfo {
        priority,
        iface: interface.to_owned(),
        ..Default::default()
    })
}

fn done(what: &str) {
    println!("ok {what}");
}

fn equal<T: PartialEq + Debug>(what: &str, found: T, wanted: T) -> anyhow::Result<()> {
    ensure!(found == wanted, "{what} is {found:?}, not {wanted:?}");
    Ok(())
}

fn facts(info: &KernelProgramInfo) -> anyhow::Result<()> {
    ensure!(info.id != 0, "no kernel id");
    equal("kernel name", info.name.as_str(), PROGRAM)?;
    equal("kernel type", info.program_type, KERNEL_TYPE_XDP)?;
    equal("length of the tag", info.tag.len(), 16)?;
    ensure!(info.gpl_compatible, "the program is GPL compatible");
    ensure!(!info.loaded_at.is_empty() && info.map_ids.len() == 1 && info.btf_id != 0, "{info:?}");
    ensure!(info.bytes_xlated != 0 && info.bytes_memlock != 0 && info.verified_insns != 0, "{info:?}");
    equal("jited", info.jited, info.bytes_jited != 0)
}

/// Tests Load, Get, List, Attach, Detach and Unload, with two programs on one interface.
pub async fn programs(calls: &mut Calls, object: &str, interface: &str) -> anyhow::Result<()> {
    let loaded = calls.load(of_file(object)).await.context("Load")?;
    let [LoadResponseInfo { info: Some(info), kernel_info: Some(kernel) }] = loaded.as_slice() else {
        bail!("Load answers {loaded:?}");
    };
    facts(kernel).context("Load")?;
    equal("name", info.name.as_str(), PROGRAM)?;
    equal("owner", info.metadata.get("owner").map(String::as_str), Some("client-v0.6"))?;
    equal("map_used_by", &info.map_used_by, &vec![kernel.id.to_string()])?;
    ensure!(info.map_pin_path.ends_with(&format!("/maps/{}", kernel.id)), "{}", info.map_pin_path);
    ensure!(info.links.is_empty(), "links before any Attach: {:?}", info.links);
    let id = kernel.id;
    done("Load of a file");

    let second = calls
        .load(LoadRequest { map_owner_id: Some(id), ..of_file(object) })
        .await
        .context("Load with map_owner_id")?;
    let Some(LoadResponseInfo { info: Some(sharing), kernel_info: Some(other) }) = second.first() else {
        bail!("Load answers {second:?}");
    };
    equal("map_owner_id", sharing.map_owner_id, Some(id))?;
    equal("maps", &other.map_ids, &kernel.map_ids)?;
    equal("used by", sharing.map_used_by.len(), 2)?;
    let other = other.id;
    done("Load with the maps of another program");

    let first = calls.attach(id, xdp(interface, 50)).await.context("Attach")?;
    let before = calls.attach(other, xdp(interface, 10)).await.context("second Attach")?;
    ensure!(first != 0 && before != 0 && first != before, "link ids {first}, {before}");
    done("Attach, two programs on one interface");

    let got = calls.get(id).await.context("Get")?;
    let (Some(info), Some(kernel)) = (got.info, got.kernel_info) else { bail!("Get answers too little") };
    facts(&kernel).context("Get")?;
    equal("links of Get", info.links, vec![first])?;
    let location = info.bytecode.and_then(|bytecode| bytecode.location);
    equal("location", location, Some(bytecode_location::Location::File(object.to_owned())))?;
    done("Get");

    let ours = |results: &[list_response::ListResult]| {
        results
            .iter()
            .filter(|result| result.info.is_some())
            .filter_map(|result| result.kernel_info.as_ref().map(|kernel| kernel.id))
            .collect::<Vec<_>>()
    };
    let all = calls.list(ListRequest::default()).await.context("List")?;
    let found = ours(&all);
    ensure!(found.contains(&id) && found.contains(&other), "List shows {found:?}");
    let only = ListRequest { bpfman_programs_only: Some(true), ..Default::default() };
    let managed = calls.list(only).await.context("List of bpfman's")?;
    ensure!(managed.iter().all(|result| result.info.is_some()), "a foreign program is shown");
    let matching = |value: &str, kind| ListRequest {
        program_type: Some(kind),
        match_metadata: HashMap::from([("owner".to_owned(), value.to_owned())]),
        ..Default::default()
    };
    let found = calls.list(matching("client-v0.6", KERNEL_TYPE_XDP)).await.context("List by metadata")?;
    equal("List by metadata and type", ours(&found).len(), 2)?;
    let links = found.iter().filter_map(|result| result.info.as_ref()).map(|info| info.links.len());
    equal("links in List", links.sum::<usize>(), 2)?;
    let nobody = calls.list(matching("nobody", KERNEL_TYPE_XDP)).await.context("List of nobody's")?;
    equal("List of nobody's", nobody.len(), 0)?;
    let probes = calls.list(matching("client-v0.6", 2)).await.context("List of probes")?;
    equal("List of probes", probes.len(), 0)?;
    done("List: all, bpfman's only, by type, by metadata");

    calls.detach(before).await.context("Detach")?;
    let left = calls.get(other).await.context("Get after Detach")?.info.context("no info")?.links;
    ensure!(left.is_empty(), "links after Detach: {left:?}");
    done("Detach");

    calls.unload(id).await.context("Unload of an attached program")?;
    calls.unload(other).await.context("Unload")?;
    let found = calls.list(ListRequest::default()).await.context("List after Unload")?;
    ensure!(!ours(&found).contains(&id) && !ours(&found).contains(&other), "still listed");
    done("Unload, of an attached program too");
    Ok(())
}

/// Asserts that a call fails with a message that contains `words`: clients of v0.6.0 use only the message.
fn refused<T>(what: &str, answer: Result<T, Status>, words: &str) -> anyhow::Result<()> {
    match answer {
        Ok(_) => bail!("{what} succeeds"),
        Err(status) if status.message().contains(words) => {
            done(&format!("{what} is refused: {:?}", status.code()));
            Ok(())
        }
        Err(status) => bail!("{what}: \"{words}\" is not in {status:?}"),
    }
}

/// Tests errors of every call.
pub async fn refusals(calls: &mut Calls, object: &str, interface: &str) -> anyhow::Result<()> {
    const NOBODY: u32 = u32::MAX - 1;
    refused("Load without bytecode", calls.load(LoadRequest::default()).await, "bytecode")?;
    let mut request = of_file(object);
    "no_such_program".clone_into(&mut request.info[0].name);
    refused("Load of an unknown program", calls.load(request).await, "no_such_program")?;
    refused("Load of an absent file", calls.load(of_file("/no/such/file.o")).await, "/no/such/file.o")?;
    refused("Attach of an unknown program", calls.attach(NOBODY, xdp(interface, 1)).await, "4294967294")?;
    refused("Detach of an unknown link", calls.detach(NOBODY).await, "4294967294")?;
    refused("Unload of an unknown program", calls.unload(NOBODY).await, "4294967294")?;
    refused("Get of an unknown program", calls.get(NOBODY).await, "4294967294")?;
    let loaded = calls.load(of_file(object)).await.context("Load")?;
    let id = loaded.first().and_then(|one| one.kernel_info.as_ref()).context("no kernel info")?.id;
    refused("Attach to an unknown interface", calls.attach(id, xdp("absent0", 1)).await, "absent0")?;
    let wrong = attach_info::Info::TracepointAttachInfo(TracepointAttachInfo {
        tracepoint: "sched/sched_process_exec".to_owned(),
        ..Default::default()
    });
    refused("Attach as another type", calls.attach(id, wrong).await, "tracepoint")?;
    calls.unload(id).await.context("Unload")
}

/// Tests PullBytecode, and Load of the pulled image.
pub async fn images(calls: &mut Calls, image: Option<&str>) -> anyhow::Result<()> {
    let nowhere = "localhost:1/absent/image:latest";
    refused("PullBytecode from nowhere", calls.pull(nowhere).await, "localhost:1")?;
    let Some(url) = image else {
        println!("SKIPPED(docker-registry): PullBytecode and Load of an image");
        return Ok(());
    };
    calls.pull(url).await.context("PullBytecode")?;
    done("PullBytecode");
    let location = bytecode_location::Location::Image(BytecodeImage {
        url: url.to_owned(),
        image_pull_policy: 1,
        username: Some(String::new()),
        password: Some(String::new()),
    });
    let request =
        LoadRequest { bytecode: Some(BytecodeLocation { location: Some(location.clone()) }), ..of_file("") };
    let loaded = calls.load(request).await.context("Load of an image")?;
    let [LoadResponseInfo { info: Some(info), kernel_info: Some(kernel) }] = loaded.as_slice() else {
        bail!("Load answers {loaded:?}");
    };
    facts(kernel).context("Load of an image")?;
    equal("location", info.bytecode.clone().and_then(|bytecode| bytecode.location), Some(location))?;
    calls.unload(kernel.id).await.context("Unload")?;
    done("Load of an image");
    Ok(())
}
