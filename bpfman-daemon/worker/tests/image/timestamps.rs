//! Signed timestamps (RFC 3161) instead of the log's time; the authority is Debian's `openssl ts`.

use crate::harness::authority::now;
use crate::harness::keyless::{ISSUER, Making, SUBJECT};
use crate::harness::log::base64;
use crate::harness::timestamp::Timestamper;
use crate::harness::world::World;
use bpfman_image_format::Digest;
use bpfmand_image::{ImageError, Policy, VerifiedBy};
use serde_json::{Value, json};

fn trusting(world: &World, authorities: &[Value]) -> Policy {
    let identity = format!("identities = [{{ issuer = \"{ISSUER}\", subject = \"{SUBJECT}\" }}]");
    world.policy_with(authorities, &identity)
}

/// A signature of last year: the certificate was valid for ten minutes from `then`, and the log gives no time.
fn last_year(world: &World, then: i64) -> Making<'_> {
    Making { valid: (then, then + 600), promised: false, ..world.making() }
}

#[tokio::test]
async fn timestamp_validates_a_signature_of_an_expired_certificate() {
    let (world, clock, then) = (World::new("stamped"), Timestamper::new(), now() - 365 * 86_400);
    let root = [clock.in_root()];
    let unstamped = last_year(&world, then).bundle(world.digest);
    world.refer(&[unstamped]);
    let why = world.refused(trusting(&world, &root)).await;
    assert!(why.contains("timestamp"), "{why}");
    let stamped = Making { stamps: vec![(&clock, then + 60)], ..last_year(&world, then) };
    world.refer(&[stamped.bundle(world.digest)]);
    let verified = world.load(trusting(&world, &root)).await.unwrap();
    let VerifiedBy::Signers { signed_at, .. } = verified else { panic!("{verified}") };
    assert_eq!(signed_at, Some(then + 60));
}

#[tokio::test]
async fn a_timestamp_outside_the_certificates_time_is_refused() {
    let (world, clock, then) = (World::new("stamped_late"), Timestamper::new(), now() - 365 * 86_400);
    let root = [clock.in_root()];
    for at in [then - 60, then + 660, now()] {
        let making = Making { stamps: vec![(&clock, at)], ..last_year(&world, then) };
        world.refer(&[making.bundle(world.digest)]);
        let why = world.refused(trusting(&world, &root)).await;
        assert!(why.contains("trusted root"), "{why}");
    }
    let two = Making { stamps: vec![(&clock, then + 60), (&clock, now())], ..last_year(&world, then) };
    world.refer(&[two.bundle(world.digest)]);
    world.refused(trusting(&world, &root)).await;
    let logged = Making { promised: true, logged: now() - 5, ..last_year(&world, then) };
    world.refer(&[Making { stamps: vec![(&clock, then + 60)], ..logged }.bundle(world.digest)]);
    world.refused(trusting(&world, &root)).await;
}

#[tokio::test]
async fn a_timestamp_of_a_foreign_authority_is_refused() {
    let (world, clock, then) = (World::new("stamped_foreign"), Timestamper::new(), now() - 365 * 86_400);
    let stranger = Timestamper::new();
    let by =
        |clock| Making { stamps: vec![(clock, then + 60)], ..last_year(&world, then) }.bundle(world.digest);
    world.refer(&[by(&stranger)]);
    for root in [vec![clock.in_root()], vec![]] {
        let why = world.refused(trusting(&world, &root)).await;
        assert!(why.contains("timestamp"), "{why}");
    }
    world.load(trusting(&world, &[clock.in_root(), stranger.in_root()])).await.unwrap();
    let later = stranger.in_root_since("2026-01-01T00:00:00Z");
    let before = 1_735_000_000; // December 2024
    let old = Making { stamps: vec![(&stranger, before + 60)], ..last_year(&world, before) };
    world.refer(&[old.bundle(world.digest)]);
    world.load(trusting(&world, &[stranger.in_root()])).await.unwrap();
    world.refused(trusting(&world, &[later])).await;
}

#[tokio::test]
async fn timestamp_of_other_or_altered_bytes_is_refused() {
    let (world, clock, then) = (World::new("stamped_other"), Timestamper::new(), now() - 365 * 86_400);
    let root = [clock.in_root()];
    let good = Making { stamps: vec![(&clock, then + 60)], ..last_year(&world, then) };
    let (honest, other) = (good.bundle(world.digest), good.bundle(Digest::of(b"other")));
    let place = "timestampVerificationData";
    let stamp = |token: &[u8]| json!({ "rfc3161Timestamps": [{ "signedTimestamp": base64(token) }] });
    let elsewhere = other["verificationMaterial"][place].clone();
    let token = clock.stamp(b"unsigned", then + 60);
    let mut changed = token.clone();
    *changed.last_mut().unwrap() ^= 1;
    for forged in [elsewhere, stamp(&token), stamp(&changed), stamp(&token[..40]), stamp(b"")] {
        let mut bundle = honest.clone();
        bundle["verificationMaterial"][place] = forged;
        world.refer(&[bundle]);
        let error = world.load(trusting(&world, &root)).await.unwrap_err();
        assert!(matches!(error, ImageError::Untrusted { .. }), "{error}");
    }
    // A timestamp replaces the log's time, not the log entry.
    let mut unlogged = honest.clone();
    unlogged["verificationMaterial"]["tlogEntries"] = json!([]);
    world.refer(&[unlogged]);
    world.refused(trusting(&world, &root)).await;
    world.refer(&[honest]);
    world.load(trusting(&world, &root)).await.unwrap();
}
