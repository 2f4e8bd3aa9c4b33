"""Every file format of edgeseq: typed structs, strict readers, atomic writers."""
