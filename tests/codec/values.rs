//! Values as programs cache them, made from a seed: the same on every run.

/// A small generator of random numbers (SplitMix64), so that values do not depend on a library's version.
pub(crate) struct Random(u64);

impl Random {
    /// The generator of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// One of these.
    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// So many bytes, which nothing compresses.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

const FIRST: &[&str] =
    &["Anna", "Ben", "Chloe", "David", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kaya", "Lena"];
const LAST: &[&str] =
    &["Abbott", "Bauer", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ivanova", "Jensen"];
const CITIES: &[&str] =
    &["Aarhus", "Bremen", "Coimbra", "Dijon", "Esbjerg", "Ferrara", "Granada", "Haarlem", "Innsbruck"];
const WORDS: &[&str] = &[
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "for",
    "with",
    "on",
    "as",
    "are",
    "this",
    "by",
    "from",
    "order",
    "price",
    "water",
    "light",
    "garden",
    "small",
    "large",
    "north",
    "river",
    "table",
    "paper",
    "wood",
    "glass",
    "winter",
    "summer",
    "delivery",
    "returned",
    "available",
    "colour",
    "weight",
    "length",
    "material",
    "warranty",
    "customer",
    "question",
    "answer",
    "battery",
    "display",
    "handle",
    "kitchen",
    "outdoor",
    "package",
    "quality",
    "repair",
    "shelf",
    "tool",
];

/// Words that make `len` bytes or a little more.
fn prose(random: &mut Random, len: usize) -> String {
    let mut text = String::new();
    while text.len() < len {
        // Frequent words first, as in any language.
        let at = random.below(WORDS.len()).min(random.below(WORDS.len()));
        text.push_str(WORDS[at]);
        text.push_str(if random.below(12) == 0 { ". " } else { " " });
    }
    text
}

/// A user record of some 300 bytes.
pub(crate) fn user_json(random: &mut Random) -> Vec<u8> {
    let (first, last, city) = (random.pick(FIRST), random.pick(LAST), random.pick(CITIES));
    let (id, posts) = (random.next() % 10_000_000, random.below(500));
    let (year, month, day) = (2010 + random.below(15), 1 + random.below(12), 1 + random.below(28));
    let (active, dark) = (random.below(4) != 0, random.below(2) == 0);
    let (street, number, zip) = (random.pick(WORDS), random.below(200), 10_000 + random.below(90_000));
    format!(
        "{{\"id\":{id},\"name\":\"{first} {last}\",\"email\":\"{}.{}@example.com\",\"active\":{active},\
         \"created\":\"{year}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z\",\"address\":{{\"street\":\"{street} street {number}\",\
         \"zip\":\"{zip}\",\"city\":\"{city}\"}},\"settings\":{{\"theme\":\"{}\",\"language\":\"{}\"}},\"posts\":{posts},\
         \"phone\":\"+49 {} {}\",\"roles\":[\"reader\",\"{}\"]}}",
        first.to_lowercase(),
        last.to_lowercase(),
        random.below(24),
        random.below(60),
        random.below(60),
        if dark { "dark" } else { "light" },
        random.pick(&["en", "de", "fr", "da", "pt"]),
        100 + random.below(900),
        1_000_000 + random.below(9_000_000),
        random.pick(&["author", "editor", "admin"]),
    )
    .into_bytes()
}

/// A document of some 4 KiB: a list of orders.
pub(crate) fn json(random: &mut Random) -> Vec<u8> {
    let mut items = Vec::new();
    let mut len = 0;
    while len < 4000 {
        let item = format!(
            "{{\"sku\":\"{:08X}\",\"title\":\"{}\",\"price\":{}.{:02},\"quantity\":{},\"tags\":[\"{}\",\"{}\"],\"stock\":{}}}",
            random.next() as u32,
            prose(random, 30).trim_end(),
            random.below(500),
            random.below(100),
            1 + random.below(9),
            random.pick(WORDS),
            random.pick(WORDS),
            random.below(2) == 0,
        );
        len += item.len() + 1;
        items.push(item);
    }
    format!("{{\"page\":{},\"items\":[{}]}}", random.below(100), items.join(",")).into_bytes()
}

/// A page of some 16 KiB.
pub(crate) fn html(random: &mut Random) -> Vec<u8> {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}</title>\n\
         <link rel=\"stylesheet\" href=\"/assets/main-{:08x}.css\">\n</head>\n<body>\n<main class=\"content\">\n",
        prose(random, 20),
        random.next() as u32,
    );
    while page.len() < 16_000 {
        let id = random.below(100_000);
        page.push_str(&format!(
            "<article class=\"card card--wide\" id=\"item-{id}\">\n  <h2><a href=\"/items/{id}\">{}</a></h2>\n  \
             <p class=\"card__text\">{}</p>\n  <span class=\"price\">{}.{:02}</span>\n</article>\n",
            prose(random, 25).trim_end(),
            prose(random, 60 + id % 200).trim_end(),
            random.below(900),
            random.below(100),
        ));
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page.into_bytes()
}

/// A session of 200 bytes: some fields, and a token that is random.
pub(crate) fn session(random: &mut Random) -> Vec<u8> {
    let mut blob =
        format!("uid={};ip=10.{}.{}.{};csrf=", random.below(1_000_000), random.below(256), random.below(256), 7);
    for _ in 0..8 {
        blob.push_str(&format!("{:016x}", random.next()));
    }
    blob.push_str(";seen=");
    let mut blob = blob.into_bytes();
    while blob.len() < 200 {
        blob.push(b'0' + random.below(10) as u8);
    }
    blob.truncate(200);
    blob
}

/// Something like a JPEG of some 20 KiB: tables and markers in the clear, then what nothing compresses.
pub(crate) fn image(random: &mut Random) -> Vec<u8> {
    let mut image =
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x01\x00\x60\x00\x60\x00\x00\xff\xdb\x00\x43\x00".to_vec();
    image.extend((0..64).map(|at: u8| at / 2 + 3));
    image.extend_from_slice(b"\xff\xc4\x00\x1f\x00");
    image.extend((0..28).map(|at: u8| at % 12));
    let len = 15_000 + random.below(10_000);
    for byte in random.bytes(len) {
        image.push(byte);
        // As JPEG has it after each 0xff of the data.
        if byte == 0xff {
            image.push(0);
        }
    }
    image.extend_from_slice(b"\xff\xd9");
    image
}
