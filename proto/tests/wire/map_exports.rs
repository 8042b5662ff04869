use bpfman_proto::{MAX_EXPORTS, MapAccess, MapExportError, MapExports};

#[test]
fn written_exports_are_read_back() {
    for text in ["", "hits=web", "hits=web,shop:rw;*=monitoring", "a.b_c=*"] {
        assert_eq!(text.parse::<MapExports>().unwrap().to_string(), text);
    }
}

#[test]
fn largest_right_of_all_exports_counts() {
    let exports: MapExports = "hits=web;*=shop;hits=shop:rw;all=*".parse().unwrap();
    let access = |map, namespace| exports.access(map, namespace);
    assert_eq!(access("hits", Some("web")), Some(MapAccess::Read));
    assert_eq!(access("hits", Some("shop")), Some(MapAccess::Write));
    assert_eq!(access("other", Some("shop")), Some(MapAccess::Read));
    assert_eq!(access("other", Some("web")), None);
    assert_eq!(access("hits", None), None);
    assert_eq!(access("all", None), Some(MapAccess::Read));
    assert_eq!(MapExports::default().access("hits", Some("web")), None);
}

#[test]
fn invalid_export_is_refused_and_named() {
    use MapExportError::{Form, Map, Namespace, TooMany};
    let many = vec!["a=b"; MAX_EXPORTS + 1].join(";");
    let wide = format!("a={}", vec!["b"; MAX_EXPORTS + 1].join(","));
    for (text, error) in [
        ("hits", Form("hits".to_owned())),
        ("=web", Map(String::new())),
        ("a b=web", Map("a b".to_owned())),
        ("../hits=web", Map("../hits".to_owned())),
        ("hits=", Namespace(String::new())),
        ("hits=Web", Namespace("Web".to_owned())),
        ("hits=web:wr", Namespace("web:wr".to_owned())),
        ("hits=web;", Form(String::new())),
        (&many, TooMany),
        (&wide, TooMany),
    ] {
        assert_eq!(text.parse::<MapExports>(), Err(error), "{text}");
    }
}
