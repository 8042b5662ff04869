use crate::harness::hostile::{Answer, Hostile};
use crate::harness::{Store, object, policy, unsigned};
use bpfman_image_format::{AuthFile, Credential, ImageReference};
use bpfmand_image::{
    Caller, Category, FetchPolicy, ImageError, ImageRequest, RegistrySettings, VerifiedImage,
};
use serde_json::json;

const BASIC: &str = "Basic realm=\"test\"";
const SECRET: &str = "Basic dXNlcjpzZWNyZXQ=";
const OTHERS: &str = "Basic b3RoZXI6c2VjcmV0";

struct World {
    hostile: Hostile,
    store: Store,
    image: ImageReference,
}

impl World {
    fn new(salt: &str) -> Self {
        let hostile = Hostile::start();
        hostile.image_of(object(salt).bytes());
        hostile.lock_all(SECRET, BASIC);
        let image = hostile.image("a:latest");
        Self { hostile, store: Store::new(unsigned()), image }
    }

    async fn load(
        &self,
        user: Option<&str>,
        caller: Caller,
        pull_policy: FetchPolicy,
    ) -> Result<VerifiedImage, ImageError> {
        let credential = user.map(|user| Credential::new(user, "secret"));
        let request = ImageRequest { image: self.image.clone(), pull_policy, credential, caller };
        self.store.store.load(&request, None).await
    }

    async fn by(&self, user: Option<&str>, pull_policy: FetchPolicy) -> Result<VerifiedImage, ImageError> {
        self.load(user, Caller::Other, pull_policy).await
    }
}

#[tokio::test]
async fn a_private_image_comes_from_the_cache_only_to_who_may_pull_it() {
    let world = World::new("private");
    let if_not_present = FetchPolicy::IfNotPresent;
    for user in [None, Some("other")] {
        assert_eq!(world.by(user, if_not_present).await.unwrap_err().category(), Category::Unauthorized);
    }
    world.by(Some("user"), if_not_present).await.unwrap();
    for user in [None, Some("other")] {
        for pull_policy in [if_not_present, FetchPolicy::Never, FetchPolicy::Always] {
            let error = world.by(user, pull_policy).await.unwrap_err();
            assert_eq!(error.category(), Category::Unauthorized, "{user:?} {pull_policy:?}: {error}");
        }
    }
    let before = world.hostile.requests().len();
    world.by(Some("user"), if_not_present).await.unwrap();
    world.by(Some("user"), FetchPolicy::Never).await.unwrap();
    assert_eq!(world.hostile.requests().len(), before);
    world.hostile.lock_all(OTHERS, BASIC);
    world.by(Some("other"), if_not_present).await.unwrap();
    let asked = world.hostile.requests().split_off(before);
    assert!(asked.iter().all(|request| request.starts_with("HEAD ")), "{asked:?}");
    world.by(Some("other"), FetchPolicy::Never).await.unwrap();
    world.by(Some("user"), FetchPolicy::Never).await.unwrap();
    world.load(None, Caller::Daemon, FetchPolicy::Never).await.unwrap();
}

#[tokio::test]
async fn public_and_imported_images_are_open_to_all_also_offline() {
    let mut world = World::new("public");
    let hostile = Hostile::start();
    hostile.image_of(object("public").bytes());
    world.image = hostile.image("a:latest");
    world.by(Some("user"), FetchPolicy::IfNotPresent).await.unwrap();
    // The registry never requested the password, so the image is public.
    for user in [None, Some("other")] {
        world.by(user, FetchPolicy::Never).await.unwrap();
    }
}

#[tokio::test]
async fn the_passwords_of_the_machine_are_for_those_who_may_use_them() {
    let mut world = World::new("machine");
    let registry = world.image.registry().to_owned();
    let auth = format!(r#"{{"auths":{{"{registry}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#);
    let settings = RegistrySettings::new(Default::default(), Some(AuthFile::parse(&auth).unwrap()));
    world.store = Store { store: world.store.store.with_settings(settings), folder: world.store.folder };
    let error = world.by(None, FetchPolicy::IfNotPresent).await.unwrap_err();
    assert_eq!(error.category(), Category::Unauthorized, "{error}");
    assert!(world.hostile.requests().iter().all(|request| !request.contains("authorization")));
    world.load(None, Caller::Machine, FetchPolicy::IfNotPresent).await.unwrap();
    world.load(None, Caller::Machine, FetchPolicy::Never).await.unwrap();
    let error = world.by(None, FetchPolicy::Never).await.unwrap_err();
    assert!(matches!(error, ImageError::NotYours { .. }), "{error}");
    let error = world.by(None, FetchPolicy::IfNotPresent).await.unwrap_err();
    assert_eq!(error.category(), Category::Unauthorized, "{error}");
    world.by(Some("user"), FetchPolicy::IfNotPresent).await.unwrap();
    world.by(Some("user"), FetchPolicy::Never).await.unwrap();
}

#[tokio::test]
async fn own_manifest_gives_no_access_to_layers_of_others() {
    let mut world = World::new("borrowed");
    world.by(Some("user"), FetchPolicy::IfNotPresent).await.unwrap();
    let private = object("borrowed");
    // The owner of this registry knows the digests of the private image but has none of its content.
    let thief = Hostile::start();
    let (_, digest) = thief.image_of(private.bytes());
    let layer = bpfman_image_format::Digest::of(private.bytes());
    thief.set(&format!("blobs/{layer}"), Answer::status(404));
    world.image = thief.image("a:latest");
    let error = world.by(None, FetchPolicy::IfNotPresent).await.unwrap_err();
    assert_eq!(error.category(), Category::NotFound, "{error}");
    world.image = world.image.at_digest(digest);
    assert_eq!(world.by(None, FetchPolicy::Never).await.unwrap_err().category(), Category::Unauthorized);
    // Content belongs to the names under which it was fetched.
    world.store.store.set_policy(policy("mode = \"off\"\n"));
    assert!(world.by(None, FetchPolicy::Never).await.is_err());
    assert!(!json!(world.store.kept()).to_string().contains("tmp/"));
}
