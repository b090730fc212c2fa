"""What the jobs share: settings, artifacts, outbound calls, Web Push. No jobs are looked for here."""
