sandbox=--disable-setuid-sandbox
