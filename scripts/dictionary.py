#!/usr/bin/env python3
"""Makes crates/adapters/redis/src/dictionary.bin, against which entries in Redis are compressed, from generated profiles.

    python3 -m pip install --target target/tools/zstandard zstandard==0.25.0
    PYTHONPATH=target/tools/zstandard scripts/dictionary.py

Another dictionary is another form of entry: raise FORM in entry.rs. Half of the fields have names that profiles often have, half
have invented ones, so that what is learned is JSON and English more than the names.
"""

import json
import random
import uuid
from pathlib import Path

import zstandard

SIZE = 4096
SAMPLES = 6_000

FIELDS = """account_id acc_manager app_version birth_date bio campaign churn_risk city company consent_analytics consent_marketing
country country_code currency customer_id customer_segment department device external_id first_name gender job_title joined language
last_login_at last_name last_order_at last_seen_at lifetime_value loyalty_points loyalty_tier mobile_phone nationality newsletter
occupation order_count orders os_version phone_number plan postal_code preferred_channel referral_code score seats segment
signup_date status store_id street timezone title website""".split()
WORDS = """a about after and asked at best business by calls day each every first for friends from garden good has her his home in
is keeps likes loves meets more mountain music never new of often old on one or orders other over people piano plays prefers quiet
reads runs sailing school she small some speaks team the three time to travels two wants weekends when who with work works writer
writes years""".split()
SYLLABLES = "al an ba der do ed en er gan in ist ive ka la le lo mi mon ne on or pe ra re ri se shi su ta ter ti to un ve vi".split()
CHOICES = """active basic gold silver premium standard true false en-GB en-US de-DE fr-FR es-ES EUR USD GBP DE GB US FR email sms push
Europe/Berlin Europe/London America/New_York Berlin London Paris Madrid Lisbon Vienna Dublin Austin Tokyo""".split()
FIRST = "Ada Alan Chen Eva Grace Igor Ines Jon Lena Luis Maria Nora Omar Paul Ravi Sara Tim Zoe".split()
LAST = "Berg Costa Fox Garcia Haddad Hopper Klein Lovelace Martin Novak Patel Silva Smith Turing Wang Weber".split()


def word(draw):
    return "".join(draw.choice(SYLLABLES) for _ in range(draw.randint(2, 4)))


def prose(draw, most):
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(3, most)))


def moment(draw):
    date = f"20{draw.randint(18, 27)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
    return f"{date}T{draw.randint(0, 23):02}:{draw.randint(0, 59):02}:{draw.randint(0, 59):02}"


def value(draw):
    return draw.choice([
        lambda: draw.random() < 0.5,
        lambda: draw.randint(0, 100),
        lambda: draw.randint(0, 20_000),
        lambda: round(draw.random() * 1_000, 2),
        lambda: moment(draw) + "Z",
        lambda: moment(draw)[:10],
        lambda: draw.choice(CHOICES),
        lambda: f"{word(draw).capitalize()} {word(draw)}",
        lambda: prose(draw, 30),
        lambda: f"https://example.com/{word(draw)}",
        lambda: f"{word(draw)[:3].upper()}-{draw.randint(1, 99_999)}",
    ])()


def profile(draw):
    first, last = draw.choice(FIRST), draw.choice(LAST)
    names = {
        draw.choice(FIELDS) if draw.random() < 0.5 else "_".join(word(draw) for _ in range(draw.randint(1, 3)))
        for _ in range(draw.choice([3, 5, 10, 10, 20, 30, 30, 40]))
    }
    body = {
        "id": str(uuid.UUID(int=0x01990000_0000_7000_8000_000000000000 | draw.getrandbits(74) | draw.getrandbits(16) << 96)),
        "name": f"{first} {last}",
        "email": f"{first.lower()}.{last.lower()}@{draw.choice(['example.com', 'gmail.com', 'web.de', 'corp.example'])}",
    }
    if draw.random() < 0.7:
        body["bio"] = prose(draw, 30).capitalize() + "."
    body |= {"attributes": {name: value(draw) for name in sorted(names)}, "images": [], "version": draw.randint(1, 9)}
    body |= {moment_of: f"{moment(draw)}.{draw.randint(0, 999_999):06}Z" for moment_of in ("created_at", "updated_at")}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def main():
    draw = random.Random(7)
    samples = [profile(draw) for _ in range(SAMPLES)]
    dictionary = zstandard.train_dictionary(SIZE, samples).as_bytes()
    target = Path(__file__).resolve().parent.parent / "crates/adapters/redis/src/dictionary.bin"
    target.write_bytes(dictionary)
    print(f"dictionary: {len(dictionary)} bytes from {SAMPLES} profiles of {sum(map(len, samples)) // SAMPLES} bytes on average")


if __name__ == "__main__":
    main()
