//! Replacements of programs that were attached elsewhere between the decision and the call.

use bpfman_model::{HookKind, LinkId, MatchingId, Reason};
use bpfmand_engine::{AllowedPlaces, EngineError, ReplaceLoadRequest, ReplaceRequest};

use crate::bench::{Ask as _, Bench, Testable};
use crate::interfaces::{ask, chosen};
use crate::replacements::replacement;
use crate::whole_loads::version;

fn places(links: &[LinkId], matchings: &[MatchingId]) -> Option<AllowedPlaces> {
    Some(AllowedPlaces {
        links: links.iter().copied().collect(),
        matchings: matchings.iter().copied().collect(),
    })
}

fn replacement_runs_in_no_place_that_was_not_allowed<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let first = engine.attached(alpha, bench.xdp(10));
    let second = engine.attached(alpha, bench.xdp(20));
    let netns = bench.netns.as_path();
    let matching = ask(&engine, alpha, bench.xdp(30), chosen(bench, &["pod*"], &[])).unwrap().record.id;
    let refused_in = |allowed: Option<AllowedPlaces>| {
        let one = ReplaceRequest { places: allowed.clone(), ..replacement(bench, alpha, "second") };
        let error = engine.replace_program(&one).unwrap_err();
        assert!(matches!(error, EngineError::NewPlace { program } if program == alpha), "{error}");
        assert!(
            error.hint().unwrap().to_string().contains(&format!("bpfman get program {alpha}")),
            "{error}"
        );
        let all = ReplaceLoadRequest { places: allowed, ..version(bench, &[alpha], "second", &["alpha"]) };
        // Node agents would take `Conflict` for one about maps.
        let error = engine.replace_load(&all).unwrap_err();
        assert_eq!(error.kind(), Reason::Invalid, "{error}");
        assert!(error.to_string().contains("was attached in another place"), "{error}");
        assert_eq!(
            bench.kernel.verdict(engine.chain(&bench.left(), HookKind::Xdp).unwrap().members[0].program.id),
            2
        );
    };
    refused_in(places(&[first], &[matching]));
    refused_in(places(&[first, second], &[]));
    bench.kernel.add_interface(netns, "pod1");
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(engine.all_links().len(), 3);
    let allowed = places(&[first, second], &[matching]);
    let new = ReplaceRequest { places: allowed.clone(), ..replacement(bench, alpha, "second") };
    let new = engine.replace_program(&new).unwrap().programs[0].id;
    let error = engine.rollback_program(new, places(&[first], &[matching]).as_ref()).unwrap_err();
    assert!(matches!(error, EngineError::NewPlace { .. }), "{error}");
    engine.rollback_program(new, allowed.as_ref()).unwrap();
}

crate::on_both_kernels!(replacement_runs_in_no_place_that_was_not_allowed);
