"""Export for browsers: LiteRT.js, the tokenizer in JavaScript, and a page that measures."""
