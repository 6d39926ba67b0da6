# The command prn for Homebrew on Linux, from the published sources: packaging/release.sh puts in where they are and what
# their checksum is.
class Prn < Formula
  desc "Start, watch and stop commands on other Linux machines"
  homepage "@URL@"
  url "@URL@/prn-@VERSION@.tar.gz"
  sha256 "@SHA256@"
  license "Apache-2.0"

  depends_on "rust" => :build
  depends_on :linux

  def install
    system "cargo", "install", "--bin", "prn", *std_cargo_args(path: "prn")
    man1.install Dir["packaging/man/*.1"]
    bash_completion.install "packaging/completions/prn.bash" => "prn"
    zsh_completion.install "packaging/completions/_prn"
    fish_completion.install "packaging/completions/prn.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/prn --version")
    system bin/"prn", "keygen", "--name", "client"
    assert_path_exists testpath/"client.pem"
  end
end
