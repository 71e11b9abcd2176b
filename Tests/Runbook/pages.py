"""Reads ops/runbook.md: pages (`## …`), scenes in them (`### …`), and the `sh` blocks of each, with the machines that the
paragraph before a block names: On **n1** and **n2**."""

import re

# A line that a command is to print; `…` stands for any text.
EXPECTATION = re.compile(r"^\s*# prints: (.*)$")
MACHINES = re.compile(r"\*\*([a-z0-9]+)\*\*")


class Block:
    def __init__(self, machines, line):
        self.machines = machines
        self.line = line
        self.lines = []

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"

    @property
    def expectations(self):
        return [match.group(1) for match in map(EXPECTATION.match, self.lines) if match]

    def missing(self, output):
        """What was to be printed and was not, in this order, or None."""
        printed = iter(output.splitlines())
        for expected in self.expectations:
            pattern = re.compile(".*".join(re.escape(part.strip("\n")) for part in expected.split("…")))
            if not any(pattern.fullmatch(line.rstrip()) for line in printed):
                return expected
        return None


def read(path):
    """[(page, scene or None, [Block])], in the order of the file; scenes without blocks are left out."""
    scenes = []
    page = scene = block = None
    paragraph = ""
    is_over = False
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file.read().splitlines(), 1):
            if block is not None:
                if line == "```":
                    block = None
                else:
                    block.lines.append(line)
            elif line == "```sh":
                named = paragraph.lower().rfind("on **")
                machines = MACHINES.findall(paragraph[named:]) if named >= 0 else []
                if not machines:
                    raise SystemExit(f"{path}:{number}: the paragraph before the block names no machine (On **n1**)")
                block = Block(machines, number)
                scenes[-1][2].append(block)
                paragraph = ""
            elif line.startswith("```"):
                raise SystemExit(f"{path}:{number}: a block that is not sh would not be tested")
            elif line.startswith("## "):
                page, scene = line[3:], None
                scenes.append((page, scene, []))
            elif line.startswith("### "):
                scene = line[4:]
                scenes.append((page, scene, []))
            elif line:
                paragraph = line if is_over else f"{paragraph} {line}"
                is_over = False
            else:
                is_over = True
    if block is not None:
        raise SystemExit(f"{path}: the last block does not end")
    return [entry for entry in scenes if entry[2]]


def alerts_named(path):
    with open(path, encoding="utf-8") as file:
        return set(re.findall(r"\bQuorate[A-Z]\w+", file.read()))


def alerts_defined(path):
    with open(path, encoding="utf-8") as file:
        return set(re.findall(r"- alert: (\w+)", file.read()))
