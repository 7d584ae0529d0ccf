"""Many runs of one scenario: protocols compared, a setting swept."""
