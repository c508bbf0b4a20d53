"""Writes fastavro.json: encodings by fastavro 1.13.1 that TestGoldenOfFastavro compares with.

Run: pip install fastavro==1.13.1 && python3 golden_fastavro.py > fastavro.json
"""
import io
import json
import uuid
from datetime import date, datetime, time, timezone, timedelta
from decimal import Decimal

import fastavro


def logical(base, kind, **more):
    return dict(type=base, logicalType=kind, **more)


def record(*fields):
    return dict(type="record", name="R", fields=[dict(name=n, type=t) for n, t in fields])


UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CASES = [
    ("millis first", logical("long", "timestamp-millis"), datetime(1, 1, 1, tzinfo=UTC)),
    ("millis last", logical("long", "timestamp-millis"), datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
    ("micros before 1970", logical("long", "timestamp-micros"), EPOCH - timedelta(microseconds=1)),
    ("micros last", logical("long", "timestamp-micros"), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    ("date first", logical("int", "date"), date(1, 1, 1)),
    ("date last", logical("int", "date"), date(9999, 12, 31)),
    ("time-millis last", logical("int", "time-millis"), time(23, 59, 59, 999000)),
    ("time-micros last", logical("long", "time-micros"), time(23, 59, 59, 999999)),
    ("decimal largest", logical("bytes", "decimal", precision=18, scale=2), Decimal("9999999999999999.99")),
    ("decimal smallest", logical("bytes", "decimal", precision=18, scale=2), Decimal("-9999999999999999.99")),
    ("decimal zero", logical("bytes", "decimal", precision=18, scale=2), Decimal("0")),
    ("decimal of 38 digits", logical("bytes", "decimal", precision=38, scale=10), Decimal("-1234567890123456789012345678.0123456789")),
    ("decimal in fixed", logical("fixed", "decimal", name="D", size=8, precision=18, scale=2), Decimal("-12.34")),
    ("uint64 largest", logical("bytes", "decimal", precision=20, scale=0), Decimal(2**64 - 1)),
    ("uuid", logical("string", "uuid"), uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")),
    ("long least", "long", -(2**63)),
    ("long largest", "long", 2**63 - 1),
    ("int least", "int", -(2**31)),
    ("double", "double", 1e-300),
    ("float", "float", 0.5),
    ("text", "string", "z\u00fc\U0001f600"),
    ("record", record(("list", dict(type="array", items=["null", "string"])), ("map", dict(type="map", values="long"))),
     {"list": ["a", None, ""], "map": {"k": -1}}),
]

out = []
for name, schema, value in CASES:
    buf = io.BytesIO()
    fastavro.schemaless_writer(buf, fastavro.parse_schema(schema), value)
    out.append(dict(name=name, schema=json.dumps(schema), hex=buf.getvalue().hex()))
print(json.dumps(out, indent=1))
