"""Write what the study found into README.md, from the published numbers.

    python tools/record_findings.py

Run it after `radtransfer publish`; a test compares the two.
"""

from pathlib import Path

from radtransfer.report.labels import task_label
from radtransfer.report.numbers import Registry, format_number

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BEGIN = "<!-- findings: written by tools/record_findings.py -->"
END = "<!-- end of findings -->"

KINDS = {"network": "Network", "traditional": "Traditional", "shortcut": "Shortcut"}
CLAIMS = {
    "c1": "Networks beat traditional methods, chest X-ray",
    "c2": "The same, brain MRI",
    "c3": "The same, head CT",
    "c4": "Transfer adds accuracy over training from scratch",
    "c5": "Transfer shortens training",
    "c6": "Early layers carry the transfer",
    "c7": "Patient groups do not differ",
    "c8": "Networks equal radiologists",
    "c10": "A medical source is better than natural images",
    "c11": "Networks see small lesions and save money",
}
"""Claims of the paper that were tested, in few words."""


def findings(registry: Registry) -> str:
    """Markdown of the findings.

    Parameters
    ----------
    registry : Registry
        Of the published results.
    """
    tasks = [
        key.split(".")[1] for key in registry if key.startswith("best.") and key.endswith(".network.auc")
    ]
    rows = [
        " | ".join([task_label(task), *(registry.get(f"best.{task}.{kind}.auc").cell_text for kind in KINDS)])
        for task in tasks
    ]
    verdicts = [
        f"| {said} | {registry.get(f'claims.{claim}.verdict').text} |" for claim, said in CLAIMS.items()
    ]
    gain = float(registry.get("protocols.official-tumour4.gain").value)
    points = format_number(100 * gain, digits=1)
    return "\n".join(
        [
            "AUC on test images with 95 % intervals, the best of each kind by validation AUC:",
            "",
            f"| Task | {' | '.join(KINDS.values())} |",
            "|---|---|---|---|",
            *(f"| {row} |" for row in rows),
            "",
            "| Claim of the paper that was tested | Verdict |",
            "|---|---|",
            *verdicts,
            "",
            f"Leaks of the published MRI split alone buy {points} points of accuracy.",
        ]
    )


def between(text: str) -> tuple[str, str, str]:
    """Text before the findings, findings, and text after them."""
    before, _, rest = text.partition(BEGIN)
    found, _, after = rest.partition(END)
    return before, found.strip("\n"), after


def main() -> None:
    """Write them."""
    before, _, after = between(README.read_text(encoding="utf-8"))
    new = findings(Registry.load(ROOT / "results"))
    README.write_text(f"{before}{BEGIN}\n{new}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
