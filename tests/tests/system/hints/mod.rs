//! Each hint with a command: its text is printed on a machine, pasted there into a shell, and then the first command works.

mod daemons;
mod hooks;
mod images;
mod objects;

use std::env;
use std::fs;
use std::process::Command;

use bpfman_model::Hint;
use bpfman_tests::command::Outcome;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::{Daemon, Launch, Network, binaries, compile};

use crate::policy_allow;

/// Proof that a hint's command is right.
enum Proof {
    /// Test that pastes the command.
    Test(#[expect(dead_code, reason = "the test runner calls it")] fn()),
    /// Reason why it cannot be pasted here.
    NotHere(&'static str),
}

const SYSTEMD: Proof = Proof::NotHere("systemd has to run");
const OLDER: Proof = Proof::NotHere("a daemon of an earlier version has to run");

/// A new variant does not compile without its proof.
const fn proof(hint: &Hint) -> Proof {
    use Proof::{NotHere, Test};
    match hint {
        Hint::Advice(_) | Hint::Lines(_) => NotHere("it has no command of its own"),
        Hint::Adopt(_) => Test(hooks::link_of_others_is_adopted),
        Hint::AllowCall(_) => Test(policy_allow::hint_of_a_denied_call_allows_it),
        Hint::AllowImage { .. } => Test(policy_allow::hint_of_a_refused_image_allows_it),
        Hint::Apply(_) => Test(daemons::differing_manifest_is_applied),
        Hint::CheckPolicy(_) => Test(daemons::mistakes_of_the_policy_are_shown),
        Hint::ClearOrder(_) => Test(hooks::contradicting_order_is_dropped),
        Hint::Detach(_) => Test(hooks::held_hook_is_freed),
        Hint::DetachXdp { .. } => Test(hooks::xdp_without_a_link_is_removed),
        Hint::Doctor => Test(daemons::waiting_application_is_examined),
        Hint::DumpMap(_) => Test(objects::entries_of_a_map_are_shown),
        Hint::EnableJit => NotHere("it changes the whole machine"),
        Hint::EndBreakGlass => Test(daemons::break_glass_is_ended),
        Hint::Events { .. } => NotHere("the daemon has to end while it sends a list of events"),
        Hint::Explain { .. } => NotHere("the daemon has to fail to keep back packets of tenants"),
        Hint::FileOwners(_) => Test(daemons::socket_names_its_group),
        Hint::FreeSpace(_) => Test(daemons::free_space_is_shown),
        Hint::GetLink(_) | Hint::History { .. } => Test(objects::waiting_link_is_shown),
        Hint::GetProgram(_) => Test(objects::maps_of_a_program_are_shown),
        Hint::Holder { .. } => Test(hooks::holder_of_a_cgroup_is_shown),
        Hint::KernelLinks => Test(objects::links_of_the_kernel_are_shown),
        Hint::KernelMap(_) => Test(objects::map_that_others_use_is_read),
        Hint::KernelTypes => NotHere("the kernel has to lack types"),
        Hint::ListAllPrograms => Test(objects::programs_of_the_machine_are_listed),
        Hint::ListApplications => Test(daemons::applications_are_listed),
        Hint::ListImages | Hint::PullImage(_) => Test(images::missing_image_is_pulled),
        Hint::ListInterfaces { .. } => Test(hooks::interfaces_are_listed),
        Hint::ListLinks => Test(objects::links_are_listed),
        Hint::ListMaps => Test(objects::maps_are_listed),
        Hint::ListMatches => Test(objects::matches_are_listed),
        Hint::ListPrograms => Test(objects::programs_are_listed),
        Hint::ListSessions => Test(objects::sessions_are_listed),
        Hint::ListStrays => Test(objects::strays_are_listed),
        Hint::MountBpffs => SYSTEMD,
        Hint::MountPins { .. } => Test(objects::bpffs_is_mounted_for_a_pin),
        Hint::NameImage { .. } => Test(images::image_without_a_name_is_named),
        Hint::NamespaceHolders { .. } => Test(hooks::holders_of_a_namespace_are_shown),
        Hint::NewestHistory | Hint::Rollback(_) | Hint::Version => OLDER,
        Hint::OwnScope => SYSTEMD,
        Hint::PinMap(_) => Test(objects::large_map_is_pinned),
        Hint::ProcessOf { .. } => Test(daemons::process_with_the_records_is_shown),
        Hint::ReadLog => SYSTEMD,
        Hint::RelatedInterfaces => Test(hooks::related_interfaces_are_shown),
        Hint::Release { .. } => Test(hooks::frozen_hook_is_released),
        Hint::RemoveStray { .. } => Test(daemons::stray_is_removed),
        Hint::RestartDaemon => SYSTEMD,
        Hint::ShowChain { .. } => Test(hooks::members_of_a_chain_are_shown),
        Hint::ShowClock => SYSTEMD,
        Hint::SignImage(_) => Test(images::unsigned_image_is_signed),
        Hint::StartDaemon => SYSTEMD,
        Hint::StartRadar => NotHere("the package of the examples has to be installed"),
        Hint::StartSessions => SYSTEMD,
        Hint::TimeChain { .. } => Test(hooks::members_of_a_chain_are_timed),
        Hint::Unload(_) => Test(images::revoked_program_is_unloaded),
        Hint::UnloadDispatcher(_) => NotHere("the kernel has to replace functions of programs"),
        Hint::VerifyChain { .. } => Test(hooks::differing_chain_is_verified),
        Hint::WatchMap(_) => Test(objects::records_of_a_buffer_are_shown),
        Hint::Whoami => Test(daemons::grants_of_the_caller_are_shown),
    }
}

#[test]
fn advice_needs_no_test() {
    assert!(matches!(proof(&"compile it again".into()), Proof::NotHere(why) if !why.is_empty()));
    assert!(matches!(proof(&Hint::Whoami), Proof::Test(_)));
}

/// Machine with daemon and shell in the same network namespace: the far one if `is_far`, or that of the test.
struct Machine {
    daemon: Daemon,
    network: Network,
    is_far: bool,
}

impl Machine {
    fn new() -> Self {
        Self::launched(Launch::default())
    }

    fn launched(launch: Launch) -> Self {
        let mut machine = Self::prepare(true);
        machine.start(launch);
        machine
    }

    fn prepare(is_far: bool) -> Self {
        Self { daemon: Daemon::prepare(), network: Network::new(), is_far }
    }

    fn start(&mut self, launch: Launch) {
        let enter = ["nsenter".to_owned(), format!("--net={}", self.network.far.path().display())];
        let wrapper = if self.is_far { enter.to_vec() } else { Vec::new() };
        self.daemon.again(&Launch { wrapper, ..launch });
    }

    /// Runs a line in a shell that finds the machine's programs, socket and folders by its environment alone.
    fn shell(&self, line: &str) -> Outcome {
        let mut command = if self.is_far { self.network.far.command("sh") } else { Command::new("sh") };
        let path =
            format!("{}:{}", binaries::find("bpfman").parent().unwrap().display(), env::var("PATH").unwrap());
        let folders = [("HOME", ""), ("BPFMAN_SOCKET_PATH", "sock"), ("BPFMAN_RUNTIME_DIR", "run")];
        command.args(["-c", line]).env("PATH", path).current_dir(self.daemon.path(""));
        command.envs(folders.map(|(name, path)| (name, self.daemon.path(path))));
        Outcome::of(&mut command)
    }

    /// Pastes the command of a hint that was printed.
    fn paste(&self, printed: &Outcome, hint: &Hint) -> Outcome {
        self.shell(&self.printed(printed, hint))
    }

    fn printed(&self, printed: &Outcome, hint: &Hint) -> String {
        let (text, command) = (format!("{}{}", printed.stdout, printed.stderr), hint.command().unwrap());
        let is_there = text.contains(&hint.to_string()) || text.contains(&format!("`{command}`"));
        assert!(is_there, "no \"{hint}\" in: {text}");
        command
    }

    /// The first command fails and prints the hint; after the hint's command was run, it succeeds.
    fn mends(&self, first: &str, hint: &Hint) {
        self.leads(first, hint, first);
    }

    /// The first command fails and prints the hint. The hint's command succeeds, and so does `right`.
    fn leads(&self, first: &str, hint: &Hint, right: &str) -> String {
        let failed = self.shell(first);
        assert_ne!(failed.code, 0, "{first}: {}", failed.stdout);
        let shown = self.paste(&failed, hint).success();
        self.shell(right).success();
        shown
    }

    fn load(&self, object: &str, program: &str) -> u32 {
        let object = compile::object(object);
        let line = format!("load file -p {} --programs {program} -q", object.display());
        self.daemon.bpfman(&line).success().trim().parse().unwrap()
    }

    fn member(&self) -> u32 {
        self.load("chain", "xdp:xdp_member")
    }

    fn attach(&self, program: u32, flags: &str) -> u32 {
        let line = format!("attach {program} xdp -i {INTERFACE} -p 50 {flags} -q");
        self.daemon.bpfman(&line).success().trim().parse().unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.daemon.path(name), text).unwrap();
    }
}
