"""Parts: which pictures show one part, whether it is bad, and how well bad parts are told from good ones."""
