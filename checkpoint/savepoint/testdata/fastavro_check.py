"""Reads every container file of a savepoint with fastavro and compares it with what millrace savepoint export gives.

    python3 fastavro_check.py DIRECTORY EXPORT

Prints one line for each difference and ends with status 1 when there is one. Needs fastavro and, for files compressed with it, zstandard.
"""
import base64
import collections
import datetime
import decimal
import glob
import json
import math
import os
import sys
import uuid

import fastavro


def plain(value, schema, named):
    """value, as fastavro decodes it, in the JSON form of serde.Raw.AppendJSON."""
    if isinstance(schema, str):
        if schema in named:
            return plain(value, named[schema], named)
        schema = {"type": schema}
    if isinstance(schema, list):
        others = [s for s in schema if s != "null"]
        if value is None:
            return None
        if len(others) == 1 and len(schema) == 2:
            return plain(value, others[0], named)
        kind, inner = value  # return_named_type gives names of records, enums and fixed types only
        return {kind: plain(inner, named.get(kind, kind), named)}
    kind, logical = schema["type"], schema.get("logicalType")
    if isinstance(kind, (dict, list)):
        return plain(value, kind, named)
    if kind == "record":
        named[schema["name"]] = schema
        return {f["name"]: plain(value[f["name"]], f["type"], named) for f in schema["fields"]}
    if kind in ("enum", "fixed"):
        named[schema["name"]] = schema
    if kind == "array":
        return [plain(v, schema["items"], named) for v in value]
    if kind == "map":
        return {k: plain(v, schema["values"], named) for k, v in value.items()}
    if isinstance(value, decimal.Decimal):
        return "{:.{}f}".format(value, schema.get("scale", 0))
    if isinstance(value, datetime.datetime):
        digits = {"timestamp-millis": 3, "timestamp-micros": 6}[logical]
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + "{:06d}".format(value.microsecond)[:digits] + "Z"
    if isinstance(value, (datetime.date, uuid.UUID)):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def lines(path):
    """The entries of one file, as export shows them."""
    with open(path, "rb") as f:
        reader = fastavro.reader(f)
        meta = {k: v for k, v in reader.metadata.items() if k.startswith("millrace.")}
        if meta["millrace.version"] != "1":
            raise ValueError(f"{path}: version {meta['millrace.version']}")
        fields = {f["name"]: f["type"] for f in json.loads(reader.metadata["avro.schema"])["fields"]}
        kind = meta["millrace.kind"]
        first, last = map(int, meta["millrace.groups"].split("-"))
        named = {}
        for row in reader:
            parts = {name: plain(row[name], fields[name], named) for name in ("kg", "key", "sub", "value", "expiry", "hash")}
            if not first <= row["kg"] <= last:
                raise ValueError(f"{path}: group {row['kg']} outside of {first} to {last}")
            group = (int.from_bytes(row["hash"], "big") >> 32) * int(meta["millrace.max_parallelism"]) >> 32
            if group != row["kg"]:
                raise ValueError(f"{path}: group {row['kg']}, the hash says {group}")
            line = {"uid": meta["millrace.uid"], "state": meta["millrace.state"], "group": row["kg"], "key": parts["key"]}
            if kind == "map":
                line["map_key"] = parts["sub"]
            elif kind == "list":
                line["element"] = parts["sub"]
            elif kind == "timers":
                line["clock"] = {"EVENT_TIME": "event time", "PROCESSING_TIME": "processing time"}[row["sub"]["clock"]]
                line["at_ms"] = row["sub"]["at"]
            elif row["sub"] is not None:
                raise ValueError(f"{path}: sub key {row['sub']} of a {kind} state")
            if kind != "timers":
                line["value"] = parts["value"]
            if parts["expiry"] is not None:
                line["expires_ms"] = parts["expiry"]
            yield line


def main(directory, export):
    found = collections.Counter()
    files = sorted(glob.glob(os.path.join(directory, "*.avro")))
    for path in files:
        for line in lines(path):
            found[json.dumps(line, sort_keys=True)] += 1
    want = collections.Counter()
    with open(export, encoding="utf-8") as f:
        for text in f:
            line = json.loads(text)
            line.pop("broadcast", None)
            want[json.dumps(line, sort_keys=True)] += 1
    for text in (found - want).keys():
        print("only fastavro reads", text)
    for text in (want - found).keys():
        print("only export has", text)
    print(f"{len(files)} files, {sum(found.values())} entries")
    return 0 if files and found == want else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
