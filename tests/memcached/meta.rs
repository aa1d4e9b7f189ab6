//! The meta commands: every flag, by rules of our own.

use crate::lab::{check, service};

const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format\r\n";

#[test]
fn answers_give_back_what_was_asked_for_in_order() {
    let service = service();
    check(&service, "ms a 2 F7 T100 E5\r\nxy\r\n", "HD\r\n");
    check(&service, "mg a\r\nmg a v\r\nmg a s v\r\n", "HD\r\nVA 2\r\nxy\r\nVA 2 s2\r\nxy\r\n");
    check(&service, "mg a t s O12 k f c h\r\n", "HD t100 s2 O12 ka f7 c5 h1\r\n");
    check(&service, "mg a l k q\r\nmg b k O1\r\nmg b q k\r\nmn\r\n", "HD l0 ka\r\nEN kb O1\r\nMN\r\n");
}

#[test]
fn a_known_cas_spares_the_value() {
    let service = service();
    check(&service, "ms a 1 E9\r\nx\r\nmg a C9 v c\r\nmg a C8 v c\r\n", "HD\r\nHD c9\r\nVA 1 c9\r\nx\r\n");
}

#[test]
fn looks_can_be_unseen_and_tell_of_others() {
    let service = service();
    check(&service, "ms a 1\r\nx\r\nmg a h u\r\nmg a h\r\nmg a h\r\n", "HD\r\nHD h0\r\nHD h0\r\nHD h1\r\n");
}

#[test]
fn modes_of_storing() {
    let service = service();
    check(&service, "ms a 1 MA\r\nb\r\nms a 1 MR\r\nb\r\nms a 1 MP\r\nb\r\n", "NS\r\nNS\r\nNS\r\n");
    check(
        &service,
        "ms a 1 MA N0\r\nb\r\nms a 1 MP\r\na\r\nms a 1 MA\r\nc\r\nmg a v\r\n",
        "HD\r\nHD\r\nHD\r\nVA 3\r\nabc\r\n",
    );
    check(
        &service,
        "ms a 1 ME k\r\nx\r\nms b 1 ME\r\nx\r\nms b 1 MS\r\ny\r\nmg b v\r\n",
        "NS ka\r\nHD\r\nHD\r\nVA 1\r\ny\r\n",
    );
    for (mode, error) in [
        ("MX", "invalid mode for ms M token"),
        ("M", "incorrect length for M token"),
        ("MEE", "incorrect length for M token"),
    ] {
        check(&service, &format!("ms a 1 {mode}\r\nx\r\nmn\r\n"), &format!("CLIENT_ERROR {error}\r\nMN\r\n"));
    }
}

#[test]
fn storing_compares_and_tells() {
    let service = service();
    check(&service, "ms a 1 C5\r\nx\r\nms a 1 E5 c s\r\nx\r\nms a 1 C4 k c\r\ny\r\n", "NF\r\nHD c5 s1\r\nEX ka c0\r\n");
    check(
        &service,
        "ms a 1 C5 E6 O3 b\r\nx\r\nms YQ== 1 b C5 E6 O3 k c\r\ny\r\n",
        "CLIENT_ERROR error decoding key\r\nHD O3 kYQ== b c6\r\n",
    );
    check(&service, "ms a 1 q\r\nx\r\nms a 1 ME q\r\nx\r\nmn\r\n", "NS\r\nMN\r\n");
}

#[test]
fn deletes_compare_mark_and_empty() {
    let service = service();
    check(
        &service,
        "md a\r\nmd a q\r\nms a 1 E5\r\nx\r\nmd a C4 k\r\nmd a C4 q\r\nmd a C5 O1 k\r\nmg a\r\n",
        "NF\r\nHD\r\nEX ka\r\nEX\r\nHD O1 ka\r\nEN\r\n",
    );
    check(
        &service,
        "ms a 1 F3\r\nx\r\nmd a q\r\nmn\r\nms a 1 F3\r\nx\r\nmd a x\r\nmg a v f\r\n",
        "HD\r\nMN\r\nHD\r\nHD\r\nVA 0 f0\r\n\r\n",
    );
}

#[test]
fn what_is_stale_is_won_once() {
    let service = service();
    check(&service, "ms a 1 T90\r\nx\r\nmd a I T30 E7\r\n", "HD\r\nHD\r\n");
    check(&service, "mg a v t c\r\nmg a v\r\n", "VA 1 t30 c7 X W\r\nx\r\nVA 1 Z X\r\nx\r\n");
    check(
        &service,
        "ms a 1 I C6\r\ny\r\nmg a v\r\nms a 1 I C99999\r\nz\r\nms a 1\r\nz\r\nmg a v\r\n",
        "HD\r\nVA 1 Z X\r\ny\r\nEX\r\nHD\r\nVA 1\r\nz\r\n",
    );
}

#[test]
fn only_who_can_be_told_wins() {
    let service = service();
    check(
        &service,
        "ms a 1\r\nx\r\nmd a I\r\nget a\r\ngat 0 a\r\nmg a\r\nmg a\r\n",
        "HD\r\nHD\r\nVALUE a 0 1\r\nx\r\nEND\r\nVALUE a 0 1\r\nx\r\nEND\r\nHD X W\r\nHD Z X\r\n",
    );
}

#[test]
fn what_is_missing_or_old_is_won_once() {
    let service = service();
    check(
        &service,
        "mg a N30 v t k O1\r\nmg a N30 t\r\nms a 1\r\nx\r\nmg a\r\n",
        "VA 0 t30 ka O1 W\r\n\r\nHD t30 Z\r\nHD\r\nHD\r\n",
    );
    check(
        &service,
        "ms b 1 T30\r\nx\r\nmg b R20\r\nmg b R40\r\nmg b R40\r\nmg b R-1\r\n",
        "HD\r\nHD\r\nHD W\r\nHD Z\r\nHD Z\r\n",
    );
    check(&service, "mg c N30 E77 c\r\nmg b T0 t\r\n", "HD c77 W\r\nHD t-1 Z\r\n");
}

#[test]
fn arithmetic() {
    let service = service();
    check(
        &service,
        "ma n\r\nma n q\r\nma n N0 J13 v\r\nma n v t\r\nma n D10 MD v\r\nma n D100 M- v k O1\r\n",
        "NF\r\nNF\r\nVA 2\r\n13\r\nVA 2 t-1\r\n14\r\nVA 1\r\n4\r\nVA 1 kn O1\r\n0\r\n",
    );
    check(
        &service,
        "ma n D7 M+\r\nma n MI E5 c v\r\nma n C4\r\nma n C5 T60 t v\r\nma n q v\r\nmn\r\n",
        "HD\r\nVA 1 c5\r\n8\r\nEX\r\nVA 1 t60\r\n9\r\nMN\r\n",
    );
    check(
        &service,
        "mg n v\r\nms n 1\r\nx\r\nma n q\r\n",
        "VA 2\r\n10\r\nHD\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
    );
    let bad = "CLIENT_ERROR invalid or duplicate flag\r\n";
    check(&service, "ma n Dx\r\nma n D-1\r\nma n Jx N0\r\nma n M\r\nma n Nx\r\nma n D1 D1\r\n", &bad.repeat(6));
    check(&service, "ma n Mx\r\n", "CLIENT_ERROR invalid mode for ma M token\r\n");
}

#[test]
fn keys_of_bytes_are_remembered_as_such() {
    let service = service();
    check(
        &service,
        "ms AAog 1 b k\r\nx\r\nmg AAog b k v\r\nmd AAog k b\r\nmg AAog b k\r\n",
        "HD kAAog b\r\nVA 1 kAAog b\r\nx\r\nHD kAAog b\r\nEN kAAog b\r\n",
    );
    check(
        &service,
        "ms Zm9v 1 b\r\n1\r\nmg foo k v\r\nma foo N0\r\nmd foo x\r\nmg foo k v\r\n",
        "HD\r\nVA 1 kZm9v b\r\n1\r\nHD\r\nHD\r\nVA 0 kZm9v b\r\n\r\n",
    );
    check(&service, "ms foo 1\r\nx\r\nmg Zm9v b k\r\n", "HD\r\nHD kfoo\r\n");
    for key in ["a!", "Zm9", "=", "====", "Zm9vZ"] {
        check(&service, &format!("mg {key} b\r\n"), "CLIENT_ERROR error decoding key\r\n");
    }
    let longest = "A".repeat(252);
    check(&service, &format!("mg {longest} b\r\nms {longest} 1 b\r\nx\r\n"), &BAD_FORMAT.repeat(2));
}

#[test]
fn wrong_flags() {
    let service = service();
    for (ask, error) in [
        ("mg a v v", "duplicate flag"),
        ("mg a !", "bad command line format"),
        ("mg a v 1", "bad command line format"),
        ("mg a \u{7f}", "bad command line format"),
        ("mg a z", "invalid flag"),
        ("mg a _", "invalid flag"),
        ("mg a N", "bad token in command line format"),
        ("mg a Tx", "bad token in command line format"),
        ("mg a T9223372036854775808", "bad token in command line format"),
        ("mg a R1 Ex", "bad token in command line format"),
        ("mg a O12345678901234567890123456789012", "opaque token too long"),
        ("md a z", "invalid or duplicate flag"),
        ("md a Cx", "invalid or duplicate flag"),
        ("md a !", "bad command line format"),
        ("mg", "bad command line format"),
        ("mg ", "bad command line format"),
        ("me", "bad command line format"),
    ] {
        check(&service, &format!("{ask}\r\nmn\r\n"), &format!("CLIENT_ERROR {error}\r\nMN\r\n"));
    }
    for (flags, error) in
        [("Fx", "bad command line format"), ("z", "invalid flag"), ("Tx", "bad token in command line format")]
    {
        check(&service, &format!("ms a 2 {flags}\r\nxx\r\nmn\r\n"), &format!("CLIENT_ERROR {error}\r\nMN\r\n"));
    }
    check(
        &service,
        "ms a\r\nms a x\r\nms a -1\r\nms a 2147483646\r\nmn\r\n",
        &format!("{}MN\r\n", BAD_FORMAT.repeat(4)),
    );
    check(&service, "mg a Pfoo Lbar\r\nmn foo bar\r\n", "EN\r\nMN\r\n");
}

#[test]
fn me_tells_everything() {
    let service = service();
    check(&service, "me a\r\nms a 1 T100 E5\r\nx\r\n", "EN\r\nHD\r\n");
    let heard = crate::lab::talk(&service, [b"me a\r\nmg a\r\nme a\r\n".as_slice()]);
    let text = String::from_utf8(heard.reply).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("ME a exp=100 la=0 cas=5 fetch=no cls=1 size="), "{text}");
    assert!(lines[2].starts_with("ME a exp=100 la=0 cas=5 fetch=yes cls=1 size="), "{text}");
}

#[test]
fn an_item_that_comes_to_be_has_the_time_that_was_said_last_and_has_been_used() {
    let service = service();
    check(&service, "mg a N0 T30\r\nmg a t\r\nmg b T30 N0\r\nmg b t\r\n", "HD W\r\nHD t30 Z\r\nHD W\r\nHD t-1 Z\r\n");
    check(&service, "ma c N0 T30\r\nmg c t\r\nma d T30 N0\r\nmg d t\r\n", "HD\r\nHD t30\r\nHD\r\nHD t-1\r\n");
    check(&service, "mg e N30\r\nmg e h\r\nmg f N30 u\r\nmg f h u\r\n", "HD W\r\nHD h1 Z\r\nHD W\r\nHD h0 Z\r\n");
}

#[test]
fn a_touch_is_a_use() {
    let service = service();
    check(
        &service,
        "set a 0 100 1\r\n1\r\nmg a h u\r\ntouch a 50\r\nmg a h\r\n",
        "STORED\r\nHD h0\r\nTOUCHED\r\nHD h1\r\n",
    );
}
